//! How many tokens to propose: what they are likely to bring, against what a longer pass costs on this machine.

use std::time::Duration;

use super::PASS;

/// Matches of about one length: 2, 3, 4 to 7, 8 to 15, more.
const CLASSES: usize = 5;

/// How much of what was learnt is kept when something new is. Of proposals, so that a quotation's end shows soon.
const KEPT: f64 = 0.8;
/// The same, of costs.
const KEPT_COST: f64 = 0.9;

/// A pass must bring so much more, by the time that it takes, than one without proposals.
const WORTH: f64 = 1.03;

/// Of the time that would have passed without lookup, what may be lost in proving it useless, in the long run.
const STAKE: f64 = 0.01;
/// What may be lost at the beginning, in passes of one token.
const FIRST_STAKE: f64 = 0.5;
/// Of what was gained, no more is put at stake again.
const MAX_STAKE: f64 = 4.0;
/// A proposal that is not expected to pay is made for the sake of learning where so many times its cost may be lost.
const RESERVE: f64 = 4.0;

/// What is known of matches of about one length.
#[derive(Clone, Copy, Debug)]
struct Chance {
    right: f64,
    tried: f64,
}

impl Chance {
    /// That a proposed token is right, given that those before it are.
    fn estimate(self) -> f64 {
        self.right / self.tried
    }
}

/// What passes cost, how often proposals are right, and what follows from it.
///
/// All times are in passes of one token. What is lost by useless proposals is at most a hundredth of the passes that a text
/// takes without lookup, and half a pass, as far as passes cost what is expected of them: what one costs beyond that is lost
/// once, and makes up for itself before another is proposed.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Seconds of a pass of one token, once there was one.
    single: Option<f64>,
    /// What every further token of a pass adds to its cost.
    more: f64,
    /// Passes that this was learnt from.
    known: u32,
    chances: [Chance; CLASSES],
    stake: f64,
}

impl Default for Pace {
    fn default() -> Self {
        let chance = |estimate: f64| Chance { right: 2.0 * estimate, tried: 2.0 };
        Pace {
            single: None,
            // A guess, which counts as much as one pass.
            more: 0.25,
            known: 0,
            // What precedes a place at length seldom does so by chance.
            chances: [0.3, 0.45, 0.6, 0.8, 0.9].map(chance),
            stake: FIRST_STAKE,
        }
    }
}

/// Of a length that matched.
fn class(matched: usize) -> usize {
    match matched {
        0..=2 => 0,
        3 => 1,
        4..=7 => 2,
        8..=15 => 3,
        _ => 4,
    }
}

impl Pace {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a pass of `tokens` tokens costs.
    fn cost(&self, tokens: usize) -> f64 {
        1.0 + self.more * (tokens - 1) as f64
    }

    /// Tokens to propose after a match of `matched` tokens, `most` at most.
    pub fn length(&self, matched: usize, most: usize) -> usize {
        // Little is put on a guess.
        let most = most.min(if self.known == 0 { 1 } else { PASS - 1 });
        // A pass of one token comes first: costs are measured by it.
        if self.single.is_none() || matched == 0 || most == 0 {
            return 0;
        }
        let chance = self.chances[class(matched)].estimate();
        let (mut length, mut best) = (0, WORTH);
        let (mut tokens, mut all_right) = (1.0, 1.0);
        for proposed in 1..=most {
            all_right *= chance;
            tokens += all_right;
            let cost = self.cost(proposed + 1);
            if tokens / cost > best && cost - 1.0 <= self.stake {
                (length, best) = (proposed, tokens / cost);
            }
        }
        if length == 0 && RESERVE * (self.cost(2) - 1.0) <= self.stake { 1 } else { length }
    }

    /// Tells that a pass took `time`, in which `proposed` tokens were proposed after a match of `matched`, and the first
    /// `accepted` of them were right.
    pub fn learn(&mut self, matched: usize, proposed: usize, accepted: usize, time: Duration) {
        let seconds = time.as_secs_f64();
        self.stake += STAKE * (accepted + 1) as f64;
        match self.single {
            Some(single) if proposed > 0 && single > 0.0 => {
                // No pass takes longer than its tokens one by one: what does was delayed by something else.
                let cost = (seconds / single).min((proposed + 1) as f64);
                let more = ((cost - 1.0) / proposed as f64).max(0.0);
                self.known = self.known.saturating_add(1);
                let share = (1.0 / f64::from(self.known + 1)).max(1.0 - KEPT_COST);
                self.more += share * (more - self.more);
                self.stake += (accepted + 1) as f64 - cost;
                let Chance { right, tried } = &mut self.chances[class(matched)];
                for right_one in (0..proposed.min(accepted + 1)).map(|i| i < accepted) {
                    *tried = KEPT * *tried + 1.0;
                    *right = KEPT * *right + f64::from(u8::from(right_one));
                }
            }
            _ if proposed > 0 => {}
            single => {
                let known = single.unwrap_or(seconds);
                self.single = Some(KEPT_COST * known + (1.0 - KEPT_COST) * seconds.min(4.0 * known));
            }
        }
        self.stake = self.stake.min(MAX_STAKE);
    }

    /// What may be lost now, in passes of one token.
    pub fn stake(&self) -> f64 {
        self.stake
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Seconds of passes of so many tokens, on some machine.
    fn time(tokens: usize, more: f64) -> Duration {
        Duration::from_secs_f64(0.01 * (1.0 + more * (tokens - 1) as f64))
    }

    /// Writes `tokens` tokens, proposals after matches of `matched` being right as often as `right` says; returns the time,
    /// in passes of one token.
    fn write(tokens: usize, more: f64, matched: usize, mut right: impl FnMut(usize) -> bool) -> f64 {
        let (mut pace, mut written, mut time_taken) = (Pace::new(), 0, 0.0);
        while written < tokens {
            let proposed = pace.length(matched, tokens - written - 1);
            let accepted = (0..proposed).take_while(|i| right(written + i)).count();
            pace.learn(matched, proposed, accepted, time(proposed + 1, more));
            time_taken += time(proposed + 1, more).as_secs_f64() / 0.01;
            written += accepted + 1;
        }
        time_taken
    }

    proptest! {
        /// Whatever was right before: what is lost is bounded.
        #[test]
        fn what_a_text_loses_is_bounded(
            tokens in 1usize..400,
            more in 0.0..1.0,
            matched in 0usize..40,
            right in prop::collection::vec(any::<bool>(), 1..50),
        ) {
            let taken = write(tokens, more, matched, |i| right[i % right.len()]);
            // What the guess, and then half of it, was wrong by.
            let guessed = more + (PASS - 1) as f64 * (more - 0.25).max(0.0) / 2.0;
            prop_assert!(taken <= tokens as f64 * (1.0 + STAKE) + FIRST_STAKE + guessed, "{taken} of {tokens}");
        }
    }

    #[test]
    fn useless_proposals_cost_next_to_nothing() {
        for more in [0.05, 0.2, 0.5, 1.0] {
            for matched in [2, 4, 20] {
                let taken = write(200, more, matched, |_| false);
                assert!(taken <= 204.0, "{more} {matched}: {taken}");
                let rarely = write(200, more, matched, |i| i % 10 == 0);
                assert!(rarely <= 204.0, "{more} {matched}: {rarely}");
            }
        }
    }

    #[test]
    fn copies_are_written_in_long_passes() {
        for (more, gain) in [(0.05, 5.0), (0.1, 4.0), (0.3, 2.2)] {
            let taken = write(200, more, 20, |_| true);
            assert!(taken * gain <= 200.0, "{more}: {taken}");
            // One token in ten is another.
            let nearly = write(200, more, 6, |i| i % 10 != 0);
            assert!(nearly * gain * 0.6 <= 200.0, "{more}: {nearly}");
        }
    }

    #[test]
    fn a_pass_that_was_delayed_is_forgotten() {
        let mut pace = Pace::new();
        pace.learn(0, 0, 0, time(1, 0.1));
        pace.learn(20, 1, 1, 4 * time(2, 0.1));
        let mut lengths = Vec::new();
        for _ in 0..40 {
            let proposed = pace.length(20, PASS);
            lengths.push(proposed);
            pace.learn(20, proposed, proposed, time(proposed + 1, 0.1));
        }
        assert_eq!(lengths.last(), Some(&(PASS - 1)), "{lengths:?}");
    }

    #[test]
    fn a_text_that_begins_to_repeat_is_noticed() {
        let mut copied = 0.0;
        let taken = write(400, 0.1, 3, |i| i >= 200);
        copied += taken - 200.0;
        assert!(copied < 100.0, "{copied}");
    }

    #[test]
    fn a_pass_of_one_token_comes_first() {
        let mut pace = Pace::new();
        assert_eq!(pace.length(20, 7), 0);
        pace.learn(20, 0, 0, time(1, 0.1));
        assert!(pace.length(20, 7) > 0);
        assert_eq!(pace.length(20, 0), 0);
        assert_eq!(pace.length(0, 7), 0);
        assert!(pace.length(20, 2) <= 2 && pace.length(20, 1000) < PASS);
        // A clock that stands still divides by nothing.
        let mut pace = Pace::new();
        pace.learn(0, 0, 0, Duration::ZERO);
        pace.learn(20, 3, 3, Duration::ZERO);
        assert!(pace.length(20, 7) < PASS && pace.stake().is_finite());
    }
}
