//! The machine that kernels are measured on: what identifies it, and what measuring must know of it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tritune_codegen::Isa;

/// Longest file of `/proc` or `/sys` that is read; on machines with many cores the rest of `cpuinfo` repeats the start.
const READ_LIMIT: u64 = 64 << 10;

/// Longest model name that an [`Machine::id`] is made of.
const SLUG_LIMIT: usize = 40;

/// Words of CPU model names that tell no two models apart.
const NOISE: [&str; 8] = ["r", "tm", "cpu", "processor", "with", "core", "radeon", "graphics"];

/// A fingerprint: results measured on one machine are of use on those with an equal [`Machine::id`], and a fair guess
/// on those with an equal [`Machine::microarchitecture`].
///
/// What cannot be found out is `unknown` or absent; detection itself never fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Lower-case letters, digits and dashes, such as `amd-epyc-9555-f26m2-2c`: the name of its results file.
    pub id: String,
    /// The CPU's own name for itself, such as `AMD EPYC 9555`.
    pub model: String,
    /// Architecture, vendor, family and model, such as `x86_64 AuthenticAMD family 26 model 2`.
    pub microarchitecture: String,
    /// The family's revision, 0 where unknown.
    pub stepping: u32,
    /// Operating system, as in `std::env::consts::OS`.
    pub os: String,
    /// Whether a hypervisor says that it is there; absent where nothing tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtualised: Option<bool>,
    /// Cores that the process may use: affinity and cgroup limits respected.
    pub cores: usize,
    /// Names of the instruction sets that it runs, plainest first.
    pub isas: Vec<String>,
    /// CPU features that concern kernels, as its own documentation spells them.
    pub features: Vec<String>,
    /// Caches that hold data, smallest level first.
    #[serde(default)]
    pub caches: Vec<Cache>,
}

/// One data or unified cache, as a core sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// 1 is the closest to the core.
    pub level: u8,
    /// Its size.
    pub bytes: u64,
}

/// What the CPU says of itself.
#[derive(Debug, Default)]
struct Cpu {
    model: Option<String>,
    vendor: Option<String>,
    family: Option<u32>,
    model_number: Option<u32>,
    stepping: u32,
    virtualised: Option<bool>,
    features: Vec<String>,
    caches: Vec<Cache>,
}

impl Machine {
    /// The machine that this process runs on, which the caller has found to run `isas`.
    pub fn detect(isas: impl IntoIterator<Item = Isa>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut isas: Vec<Isa> = isas.into_iter().collect();
        isas.sort_unstable();
        isas.dedup();
        Machine::describe(Cpu::detect(Path::new("/")), cores, isas)
    }

    fn describe(cpu: Cpu, cores: usize, isas: Vec<Isa>) -> Self {
        let arch = std::env::consts::ARCH;
        let part = |label: &str, number: Option<u32>| number.map_or(String::new(), |n| format!(" {label} {n}"));
        let vendor = cpu.vendor.as_deref().unwrap_or("unknown");
        let (family, number) = (part("family", cpu.family), part("model", cpu.model_number));
        let model = cpu.model.unwrap_or_else(|| format!("unknown {arch}"));
        let key = match (cpu.family, cpu.model_number) {
            (Some(family), Some(model)) => format!("f{family}m{model}-"),
            _ => String::new(),
        };
        Machine {
            id: format!("{}-{key}{cores}c", slug(&model)),
            microarchitecture: format!("{arch} {vendor}{family}{number}"),
            model,
            stepping: cpu.stepping,
            os: std::env::consts::OS.into(),
            virtualised: cpu.virtualised,
            cores,
            isas: isas.into_iter().map(|isa| isa.to_string()).collect(),
            features: cpu.features,
            caches: cpu.caches,
        }
    }

    /// The name of its results file.
    pub fn file_name(&self) -> String {
        format!("{}.toml", self.id)
    }

    /// Bytes of the largest cache: what a pool of weights must exceed for weights to be cold. `None` where unknown.
    pub fn last_level_cache(&self) -> Option<u64> {
        self.caches.iter().map(|cache| cache.bytes).max()
    }

    /// The instruction sets that it runs, plainest first; none where it names one that is not known here, for nothing can
    /// be said of its tier then.
    pub fn tier(&self) -> Vec<Isa> {
        let mut isas: Vec<Isa> =
            self.isas.iter().map(|name| name.parse()).collect::<Result<_, _>>().unwrap_or_default();
        isas.sort_unstable();
        isas.dedup();
        isas
    }

    /// Whether it runs kernels for `isa`.
    pub fn runs(&self, isa: Isa) -> bool {
        self.isas.iter().any(|name| name == isa.name())
    }
}

/// Whether `id` may name a file: letters, digits and inner dashes.
pub(crate) fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !id.is_empty() && id.len() <= 2 * SLUG_LIMIT && id.bytes().all(plain) && !id.starts_with('-') && !id.ends_with('-')
}

/// The telling words of a model name: `AMD EPYC 9555 64-Core Processor` is `amd-epyc-9555`.
fn slug(model: &str) -> String {
    // What follows an `@` is the nominal clock.
    let name = model.split('@').next().unwrap_or(model).to_ascii_lowercase();
    let counts_cores = |word: &str| word.ends_with("-core");
    let words = name.split_whitespace().filter(|word| !counts_cores(word));
    let mut slug = String::new();
    for word in words.flat_map(|word| word.split(|c: char| !c.is_ascii_alphanumeric())) {
        if word.is_empty() || NOISE.contains(&word) || slug.len() + word.len() > SLUG_LIMIT {
            continue;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.push_str(word);
    }
    if slug.is_empty() { "unknown".into() } else { slug }
}

/// Kernels care for these; the rest of what a CPU can do is noise in a results file.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
macro_rules! features {
    ($leaf:expr, $($has:ident => $name:literal),+) => {
        $leaf.iter().flat_map(|leaf| [$(leaf.$has().then_some($name)),+]).flatten().map(String::from)
    };
}

impl Cpu {
    /// x86: the `cpuid` instruction, which needs no file system.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    fn detect(root: &Path) -> Self {
        use raw_cpuid::{CacheType, CpuId};

        let cpuid = CpuId::new();
        let basic = cpuid.get_feature_info();
        let extended = cpuid.get_extended_feature_info();
        let features =
            features!(basic, has_ssse3 => "ssse3", has_sse41 => "sse4_1", has_avx => "avx", has_fma => "fma",
            has_f16c => "f16c")
            .chain(features!(extended, has_avx2 => "avx2", has_avx_vnni => "avx_vnni", has_gfni => "gfni",
            has_avx512f => "avx512f", has_avx512bw => "avx512bw", has_avx512vl => "avx512vl",
            has_avx512vnni => "avx512_vnni", has_avx512vbmi => "avx512_vbmi", has_avx_vnni_int8 => "avx_vnni_int8",
            has_amx_tile => "amx_tile", has_amx_int8 => "amx_int8"))
            .collect();
        // A CPU has few caches; a hypervisor that lists them without end is cut short.
        let caches = cpuid.get_cache_parameters().into_iter().flatten().take(16);
        let caches = caches.filter(|cache| matches!(cache.cache_type(), CacheType::Data | CacheType::Unified));
        let caches = caches.map(|cache| {
            let ways = [cache.associativity(), cache.physical_line_partitions(), cache.coherency_line_size()];
            let bytes = ways.into_iter().fold(cache.sets() as u64, |bytes, n| bytes.saturating_mul(n as u64));
            Cache { level: cache.level(), bytes }
        });
        let caches = sorted(caches.collect());
        Cpu {
            model: cpuid.get_processor_brand_string().and_then(|brand| text(brand.as_str())),
            vendor: cpuid.get_vendor_info().and_then(|vendor| text(vendor.as_str())),
            family: basic.as_ref().map(|basic| basic.family_id().into()),
            model_number: basic.as_ref().map(|basic| basic.model_id().into()),
            stepping: basic.as_ref().map_or(0, |basic| basic.stepping_id().into()),
            virtualised: basic.as_ref().map(|basic| basic.has_hypervisor()),
            features,
            caches: if caches.is_empty() { sys_caches(root) } else { caches },
        }
    }

    /// Elsewhere: what Linux writes to `/proc/cpuinfo` and `/sys`; on other systems nothing is known.
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    fn detect(root: &Path) -> Self {
        Cpu::from_proc(root)
    }

    /// `proc/cpuinfo` and `sys` below `root`, as Linux writes them on 64-bit Arm.
    #[cfg(any(test, not(any(target_arch = "x86", target_arch = "x86_64"))))]
    fn from_proc(root: &Path) -> Self {
        let info = read(&root.join("proc/cpuinfo")).unwrap_or_default();
        let field = |key: &str| {
            info.lines().filter_map(|line| line.split_once(':')).find(|(k, _)| k.trim() == key).map(|(_, v)| v.trim())
        };
        let number = |key: &str| {
            let value = field(key)?;
            value.strip_prefix("0x").map_or_else(|| value.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
        };
        // Boards name themselves in the device tree (text ends with a NUL), servers only by these numbers.
        let board = || read(&root.join("proc/device-tree/model")).and_then(|name| text(&name));
        let model = field("model name").or(field("Model")).and_then(text).or_else(board);
        let (vendor, part) = (number("CPU implementer"), number("CPU part"));
        const TELLING: [&str; 8] = ["asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"];
        let features = field("Features").unwrap_or_default().split_whitespace();
        Cpu {
            model: model.or_else(|| Some(format!("arm {:#x} part {:#x}", vendor?, part?))),
            vendor: vendor.map(|vendor| format!("implementer {vendor:#x}")),
            family: number("CPU architecture"),
            model_number: part,
            stepping: number("CPU revision").unwrap_or(0),
            virtualised: None,
            features: features.filter(|name| TELLING.contains(name)).map(String::from).collect(),
            caches: sys_caches(root),
        }
    }
}

/// The data caches of core 0, from `/sys`; none where it has no such files.
fn sys_caches(root: &Path) -> Vec<Cache> {
    let folder = root.join("sys/devices/system/cpu/cpu0/cache");
    let cache = |index: usize| {
        let file = |name: &str| read(&folder.join(format!("index{index}/{name}")));
        if file("type")?.trim() == "Instruction" {
            return None;
        }
        let size = file("size")?;
        let (digits, unit) = match size.trim().split_at_checked(size.trim().len().saturating_sub(1))? {
            (digits, "K") => (digits, 1 << 10),
            (digits, "M") => (digits, 1 << 20),
            _ => (size.trim(), 1),
        };
        Some(Cache {
            level: file("level")?.trim().parse().ok()?,
            bytes: digits.parse::<u64>().ok()?.checked_mul(unit)?,
        })
    };
    sorted((0..16).filter_map(cache).collect())
}

fn sorted(mut caches: Vec<Cache>) -> Vec<Cache> {
    caches.retain(|cache| cache.bytes > 0);
    caches.sort_by_key(|cache| (cache.level, cache.bytes));
    caches
}

/// The first [`READ_LIMIT`] bytes of a file, for it may be anything; `None` where there is none.
fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(READ_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Printable text with single spaces; `None` where nothing is left.
fn text(raw: &str) -> Option<String> {
    let plain: String =
        raw.chars().map(|c| if c.is_control() || c == '\u{fffd}' { ' ' } else { c }).take(100).collect();
    let words = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn slugs_keep_what_tells() {
        for (model, expected) in [
            ("AMD EPYC 9555 64-Core Processor", "amd-epyc-9555"),
            ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "intel-xeon-platinum-8481c"),
            ("12th Gen Intel(R) Core(TM) i7-12700H", "12th-gen-intel-i7-12700h"),
            ("AMD Ryzen 9 7950X3D 16-Core Processor", "amd-ryzen-9-7950x3d"),
            ("../../etc/passwd", "etc-passwd"),
            ("\u{0}µ", "unknown"),
        ] {
            assert_eq!(slug(model), expected);
            assert!(is_id(&slug(model)), "{model}");
        }
        assert!(is_id(&slug(&"word ".repeat(1000))));
        for id in ["", "-a", "a-", "../a", "A", "a.b", &"a".repeat(81)] {
            assert!(!is_id(id), "{id}");
        }
    }

    #[test]
    fn this_machine_has_a_fingerprint() {
        let machine = Machine::detect([Isa::Avx2, Isa::Scalar, Isa::Avx2]);
        assert!(is_id(&machine.id), "{}", machine.id);
        assert_eq!(machine.isas, ["scalar", "avx2"]);
        assert_eq!(machine.tier(), [Isa::Scalar, Isa::Avx2]);
        let foreign = Machine { isas: vec!["scalar".into(), "avx10".into()], ..machine.clone() };
        assert_eq!(foreign.tier(), [], "what is not known equals nothing");
        assert!(machine.runs(Isa::Avx2) && !machine.runs(Isa::Avx512Vnni));
        assert!(machine.cores >= 1);
        assert_eq!(machine, Machine::detect([Isa::Scalar, Isa::Avx2]), "a fingerprint does not change");
        let toml = toml::to_string(&machine).unwrap();
        assert_eq!(toml::from_str::<Machine>(&toml).unwrap(), machine);
        #[cfg(target_arch = "x86_64")]
        {
            assert!(machine.microarchitecture.starts_with("x86_64 "));
            assert!(machine.last_level_cache().is_some_and(|bytes| bytes >= 32 << 10), "{:?}", machine.caches);
        }
    }

    fn write(root: &Path, path: &str, text: impl AsRef<[u8]>) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn arm_servers_are_read_from_proc_and_sys() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            "proc/cpuinfo",
            "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\nCPU implementer\t: 0x41\nCPU architecture: 8\n\
             CPU part\t: 0xd4f\nCPU revision\t: 1\n",
        );
        for (index, kind, level, size) in
            [(0, "Data", 1, "64K"), (1, "Instruction", 1, "64K"), (2, "Unified", 2, "2048K"), (3, "Unified", 3, "36M")]
        {
            let folder = format!("sys/devices/system/cpu/cpu0/cache/index{index}");
            write(root.path(), &format!("{folder}/type"), format!("{kind}\n"));
            write(root.path(), &format!("{folder}/level"), format!("{level}\n"));
            write(root.path(), &format!("{folder}/size"), format!("{size}\n"));
        }
        let machine = Machine::describe(Cpu::from_proc(root.path()), 4, vec![Isa::Scalar]);
        assert_eq!(machine.id, "arm-0x41-part-0xd4f-f8m3407-4c");
        assert_eq!(machine.features, ["asimd", "asimddp", "i8mm"]);
        assert_eq!(machine.caches.iter().map(|cache| cache.level).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(machine.last_level_cache(), Some(36 << 20));
    }

    #[test]
    fn missing_and_hostile_files_are_unknown() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::describe(Cpu::from_proc(root.path()), 2, vec![]);
        assert_eq!(machine.id, format!("unknown-{}-2c", slug(std::env::consts::ARCH)));
        assert_eq!(machine.last_level_cache(), None);

        write(
            root.path(),
            "proc/cpuinfo",
            [b"model name: ".as_slice(), &[0xff; 1 << 20], b"\nCPU part: 0xzz"].concat(),
        );
        let folder = "sys/devices/system/cpu/cpu0/cache/index0";
        for (file, text) in [("type", "Data"), ("level", "300"), ("size", "99999999999999999999K")] {
            write(root.path(), &format!("{folder}/{file}"), text);
        }
        write(root.path(), "sys/devices/system/cpu/cpu0/cache/index1/size", "é");
        let machine = Machine::describe(Cpu::from_proc(root.path()), 2, vec![]);
        assert!(is_id(&machine.id));
        assert_eq!(machine.caches, []);
    }
}
