use std::collections::BTreeSet;
use std::env::consts::ARCH;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Error, Result, anyhow, bail};
use clap::Args;
use tritune_codegen::KernelId;
use tritune_tuning::menu::Menu;

use crate::{cargo, tune};

/// `cargo xtask asm`.
#[derive(Args)]
pub(crate) struct Asm {
    /// Name of the kernel, such as gemv_t200_1x16k64u4__avx512vnni_dot
    kernel: KernelId,
    /// Print the whole function
    #[arg(long)]
    all: bool,
}

impl Asm {
    pub(crate) fn run(self) -> Result<()> {
        let kernel = self.kernel;
        if let Some(family) = kernel.isa.arch().filter(|family| *family != ARCH) {
            bail!("{kernel} is compiled on {family} alone, and this is {ARCH}; run this there");
        }
        let function = Function::in_binary(&build(kernel)?, kernel)?;
        let code = if self.all { Some(function.code.iter().collect()) } else { function.inner_loop() };
        let code = code.with_context(|| format!("{kernel} has no loop; --all prints the whole function"))?;
        let text = listing(&code) + &function.tally(&code) + "\n";
        io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")
    }
}

/// A tritune with the kernel in it.
fn build(kernel: KernelId) -> Result<PathBuf> {
    // Another menu means compiling all kernels again.
    if Menu::defaults()?.contains(kernel) {
        return cargo::build_tritune();
    }
    cargo::build_with(&tune::write_menu("asm", &[kernel].into_iter().collect())?)
}

/// A function, taken apart.
struct Function {
    code: Vec<Instruction>,
    /// How operands on the stack begin.
    stack: Vec<&'static str>,
}

struct Instruction {
    /// Bytes from the start of the function.
    offset: u64,
    /// Mnemonic and operands; a jump within the function says the offset that it goes to.
    text: String,
    /// The offset that it jumps to, if it does.
    jump: Option<u64>,
}

impl Function {
    fn in_binary(binary: &Path, kernel: KernelId) -> Result<Function> {
        let symbols = objdump(binary, &["--syms", "--demangle"])?;
        let (start, size) = symbols
            .lines()
            .find_map(|line| place(line, kernel))
            .with_context(|| format!("{} has no function named {kernel}", binary.display()))?;
        let range = [format!("--start-address={start:#x}"), format!("--stop-address={:#x}", start + size)];
        let text = objdump(binary, &["--disassemble", "--no-show-raw-insn", "--demangle", &range[0], &range[1]])?;
        Ok(Function::parse(&text, start, size))
    }

    /// Reads what objdump prints of `size` bytes from `start` on.
    fn parse(text: &str, start: u64, size: u64) -> Function {
        let code: Vec<_> = text.lines().filter_map(|line| Instruction::parse(line, start, size)).collect();
        let mut stack = vec!["(%rsp", "[sp"];
        // Where they are no frame's base, these are registers like all others.
        if code.iter().any(|instruction| instruction.text == "mov %rsp,%rbp") {
            stack.push("(%rbp");
        }
        let based = |text: &str| text == "mov x29, sp" || text.starts_with("add x29, sp,");
        if code.iter().any(|instruction| based(&instruction.text)) {
            stack.push("[x29");
        }
        Function { code, stack }
    }

    /// The longest of the loops that have no loop in them: others take sums off, or store them. A compiler may scatter it.
    fn inner_loop(&self) -> Option<Vec<&Instruction>> {
        let before = self.predecessors();
        let targets = self.code.iter().filter_map(|instruction| self.target(instruction)).collect::<BTreeSet<_>>();
        let loops: Vec<_> = targets.into_iter().map(|head| (head, body(head, &before))).collect();
        let heads: Vec<_> = loops.iter().filter(|(_, body)| !body.is_empty()).map(|(head, _)| *head).collect();
        let inner =
            loops.iter().filter(|(head, body)| !heads.iter().any(|other| other != head && body.contains(other)));
        let (_, longest) = inner.max_by_key(|(_, body)| body.len()).filter(|(_, body)| !body.is_empty())?;
        Some(longest.iter().map(|index| &self.code[*index]).collect())
    }

    /// For each instruction, those that may run right before it.
    fn predecessors(&self) -> Vec<Vec<usize>> {
        let mut before = vec![Vec::new(); self.code.len()];
        // What is never reached, as padding is, precedes nothing.
        let (mut reached, mut ahead) = (BTreeSet::new(), vec![0]);
        while let Some(at) = ahead.pop() {
            let Some(instruction) = self.code.get(at).filter(|_| reached.insert(at)) else { continue };
            let next = instruction.falls_through().then_some(at + 1).filter(|next| *next < self.code.len());
            for after in [next, self.target(instruction)].into_iter().flatten() {
                before[after].push(at);
                ahead.push(after);
            }
        }
        before
    }

    /// The index of what an instruction jumps to.
    fn target(&self, instruction: &Instruction) -> Option<usize> {
        let to = instruction.jump?;
        self.code.binary_search_by_key(&to, |instruction| instruction.offset).ok()
    }

    /// Counts that a spill or a forgotten prefetch shows in.
    fn tally(&self, code: &[&Instruction]) -> String {
        let count = |test: &dyn Fn(&Instruction) -> bool| code.iter().filter(|instruction| test(instruction)).count();
        let stack = count(&|instruction| instruction.accesses(&self.stack));
        let prefetches = count(&Instruction::prefetches);
        format!("{} instructions, {stack} stack accesses, {prefetches} prefetches", code.len())
    }
}

impl Instruction {
    /// Reads a line like `  4dd9f0:⇥jne    4dd9a0 <path::name+0x80>`.
    fn parse(line: &str, start: u64, size: u64) -> Option<Instruction> {
        let (address, text) = line.split_once(":\t")?;
        let offset = u64::from_str_radix(address.trim(), 16).ok()?.checked_sub(start)?;
        // What follows explains constants and conditions.
        let text = [" # ", " // "].iter().fold(text, |text, comment| text.split(comment).next().unwrap_or(text));
        let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut jump = None;
        if is_jump(&text) {
            let operands = text.split(" <").next().unwrap_or(&text);
            let before = operands.rfind([' ', ',']).map_or(0, |last| last + 1);
            let address = operands[before..].trim_start_matches("0x");
            let to = u64::from_str_radix(address, 16).ok().and_then(|address| address.checked_sub(start));
            if let Some(to) = to.filter(|to| *to < size) {
                text = format!("{}+{to:#x}", &operands[..before]);
                jump = Some(to);
            }
        }
        Some(Instruction { offset, text, jump })
    }

    /// Whether what follows it may run next.
    fn falls_through(&self) -> bool {
        let name = self.text.split(' ').next().unwrap_or_default();
        !["jmp", "b", "ret", "br", "ud2", "udf"].contains(&name)
    }

    /// Whether it asks for memory ahead of its use.
    fn prefetches(&self) -> bool {
        self.text.starts_with("prefetch") || self.text.starts_with("prfm")
    }

    /// Whether it reads or writes an operand that begins so; to take an address is neither.
    fn accesses(&self, operands: &[&str]) -> bool {
        !self.text.starts_with("lea ") && operands.iter().any(|operand| self.text.contains(operand))
    }
}

/// The instructions, one a line, and the offset before each that a jump among them goes to.
fn listing(code: &[&Instruction]) -> String {
    let targets: Vec<u64> = code.iter().filter_map(|instruction| instruction.jump).collect();
    let mut text = String::new();
    for instruction in code {
        if targets.contains(&instruction.offset) {
            text += &format!("+{:#x}:\n", instruction.offset);
        }
        text += &format!("    {}\n", instruction.text);
    }
    text
}

/// The loop that begins at `head`: whatever leads back there. Empty where `head` is no loop's only entrance.
fn body(head: usize, before: &[Vec<usize>]) -> BTreeSet<usize> {
    let mut body = BTreeSet::new();
    for last in &before[head] {
        let (mut seen, mut ahead) = (BTreeSet::from([head]), vec![*last]);
        while let Some(at) = ahead.pop() {
            if seen.insert(at) {
                ahead.extend(&before[at]);
            }
        }
        // From the function's start to `last`, around `head`: that is no way back.
        if head == 0 || !seen.contains(&0) {
            body.extend(seen);
        }
    }
    body
}

fn is_jump(text: &str) -> bool {
    let name = text.split(' ').next().unwrap_or_default();
    name.starts_with('j') || name.starts_with("b.") || ["b", "cbz", "cbnz", "tbz", "tbnz"].contains(&name)
}

/// Address and size of the kernel's function, if this line of the symbol table is about it.
fn place(line: &str, kernel: KernelId) -> Option<(u64, u64)> {
    let (place, what) = line.split_once('\t')?;
    let (size, name) = what.split_once(' ')?;
    if !place.contains(" F ") || name.rsplit("::").next()? != kernel.to_string() {
        return None;
    }
    let hexadecimal = |digits| u64::from_str_radix(digits, 16).ok();
    Some((hexadecimal(place.split(' ').next()?)?, hexadecimal(size)?))
}

fn objdump(binary: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("objdump").args(arguments).arg(binary).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow!("there is no objdump here; install the package binutils"),
        _ => Error::new(error).context("cannot start objdump"),
    })?;
    if !output.status.success() {
        bail!("objdump ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86: &str = "
00000000000000f0 <tritune::f>:
  100:\tpush   %rbp
  101:\tmov    (%rbp),%rax
  104:\ttest   %rcx,%rcx
  107:\tje     140 <tritune::f+0x40>
  109:\tlea    0x10(%rsp),%rdx
  10e:\tprefetcht0 0x800(%rsi)
  115:\tvpand  0x40(%rsp),%ymm1,%ymm2
  11b:\tvpmaddubsw 0x100(%rip),%ymm2,%ymm3        # 230 <.rodata>
  124:\tdec    %rcx
  127:\tjne    109 <tritune::f+0x9>
  129:\tadd    $0x20,%rdi
  12d:\tdec    %r8
  130:\tjne    12d <tritune::f+0x2d>
  132:\tcmp    %rdi,%r9
  135:\tjne    101 <tritune::f+0x1>
  13b:\tjmp    900 <memcpy>
  140:\tret
";

    #[test]
    fn the_longest_loop_without_loops_is_shown_and_counted() {
        let function = Function::parse(X86, 0x100, 0x41);
        assert_eq!(function.code.len(), 17);
        let code = function.inner_loop().unwrap();
        let all: Vec<_> = function.code.iter().collect();
        assert_eq!(
            listing(&code).lines().map(str::trim).collect::<Vec<_>>(),
            [
                "+0x9:",
                "lea 0x10(%rsp),%rdx",
                "prefetcht0 0x800(%rsi)",
                "vpand 0x40(%rsp),%ymm1,%ymm2",
                "vpmaddubsw 0x100(%rip),%ymm2,%ymm3",
                "dec %rcx",
                "jne +0x9",
            ]
        );
        assert_eq!(function.tally(&code), "6 instructions, 1 stack accesses, 1 prefetches");
        assert_eq!(function.tally(&all), "17 instructions, 1 stack accesses, 1 prefetches");
        assert!(listing(&all).contains("jmp 900 <memcpy>\n+0x40:\n"));
        let framed = X86.replace("push   %rbp", "mov    %rsp,%rbp");
        let function = Function::parse(&framed, 0x100, 0x41);
        assert!(function.tally(&function.code.iter().collect::<Vec<_>>()).contains("2 stack accesses"));
    }

    #[test]
    fn scattered_loops_are_gathered() {
        let text = "
  100:\txor    %eax,%eax
  102:\tjmp    120 <f+0x20>
  104:\tinc    %rbx
  106:\tcmp    %rbx,%rcx
  108:\tje     130 <f+0x30>
  10a:\tjmp    120 <f+0x20>
  10c:\tnop
  110:\tinc    %rdx
  112:\tcmp    %rdx,%rcx
  114:\tje     104 <f+0x4>
  116:\tjmp    124 <f+0x24>
  118:\tnop
  120:\txor    %edx,%edx
  122:\tje     104 <f+0x4>
  124:\tmov    (%rsp),%rax
  126:\ttest   %rax,%rax
  128:\tje     110 <f+0x10>
  12a:\tadd    %rax,%rsi
  12c:\tjmp    110 <f+0x10>
  130:\tret
";
        let function = Function::parse(text, 0x100, 0x31);
        let code = function.inner_loop().unwrap();
        let offsets: Vec<_> = code.iter().map(|instruction| instruction.offset).collect();
        assert_eq!(offsets, [0x10, 0x12, 0x14, 0x16, 0x24, 0x26, 0x28, 0x2a, 0x2c]);
    }

    #[test]
    fn arm_is_read_as_well() {
        let text = "
  8f4:\tldr\tq0, [sp, #16]
  8f8:\tprfm\tpldl1keep, [x1, #512]
  8fc:\tsubs\tx2, x2, #0x1
  900:\tb.ne\t8f4 <f>  // b.any
  904:\ttbz\tw3, #0, 908 <f+0x14>
  908:\tret
";
        let function = Function::parse(text, 0x8f4, 0x18);
        let code = function.inner_loop().unwrap();
        assert_eq!(code.last().map(|instruction| &instruction.text[..]), Some("b.ne +0x0"));
        assert_eq!(function.tally(&code), "4 instructions, 1 stack accesses, 1 prefetches");
        assert_eq!(function.code[4].text, "tbz w3, #0, +0x14");
    }

    #[test]
    fn functions_are_found_by_their_last_name() {
        let kernel = "gemv_t200_1x16k64u1__avx2_mad".parse().unwrap();
        let line = |flag: &str, name: &str| {
            format!("00000000004dc1b0 g     {flag} .text\t00000000000004f9              {name}")
        };
        let name = format!("tritune::kernels::generated::avx2::{kernel}");
        assert_eq!(place(&line("F", &name), kernel), Some((0x4dc1b0, 0x4f9)));
        assert_eq!(place(&line("O", &name), kernel), None);
        assert_eq!(place(&line("F", &format!("{name}::SHAPES")), kernel), None);
        assert_eq!(place("", kernel), None);
    }
}
