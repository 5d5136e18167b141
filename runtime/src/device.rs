//! Where tensors lie and layers compute.

use std::fmt;
use std::str::FromStr;

/// Where a tensor lies and a layer computes.
///
/// This build computes on the CPU alone: [`Device::best`] says so, and whoever asks for [`Device::Gpu`] is told.
///
/// ```
/// use tritune::device::{Device, DeviceError};
///
/// assert_eq!(Device::default(), Device::Cpu);
/// assert_eq!("gpu".parse::<Device>()?.check(), Err(DeviceError::Absent { device: Device::Gpu }));
/// # Ok::<(), DeviceError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor, by the kernels that were chosen for it.
    #[default]
    Cpu,
    /// A graphics processor. This build has no kernels for one.
    Gpu,
}

impl Device {
    /// The fastest device that this build computes on: the CPU, for it has no kernels for others.
    pub fn best() -> Device {
        Device::Cpu
    }

    /// Whether this build computes on it.
    pub fn is_available(self) -> bool {
        self == Device::Cpu
    }

    /// The device, if this build computes on it.
    ///
    /// # Errors
    /// [`DeviceError::Absent`] for a device that it has no kernels for.
    pub fn check(self) -> Result<Device, DeviceError> {
        if self.is_available() { Ok(self) } else { Err(DeviceError::Absent { device: self }) }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Device::Cpu => "cpu",
            Device::Gpu => "gpu",
        })
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    /// Reads `cpu` or `gpu`, in any case. Whether this build has it is for [`Device::check`] to say.
    fn from_str(name: &str) -> Result<Self, DeviceError> {
        [Device::Cpu, Device::Gpu]
            .into_iter()
            .find(|device| device.to_string().eq_ignore_ascii_case(name))
            .ok_or_else(|| DeviceError::Unknown { name: name.into() })
    }
}

/// A device that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// This build has no kernels for it.
    #[error("this build has no kernels for the {device}; use the {}", Device::best())]
    Absent {
        /// The device asked for.
        device: Device,
    },
    /// No device has this name.
    #[error("there is no device `{name}`; cpu and gpu are known")]
    Unknown {
        /// The name given.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for device in [Device::Cpu, Device::Gpu] {
            assert_eq!(device.to_string().parse(), Ok(device));
            assert_eq!(device.to_string().to_uppercase().parse(), Ok(device));
        }
        let error = "tpu".parse::<Device>().unwrap_err();
        assert!(error.to_string().contains("`tpu`") && error.code() == "TT0202", "{error}");
    }

    #[test]
    fn what_is_not_built_is_refused() {
        assert_eq!((Device::best(), Device::Cpu.check()), (Device::Cpu, Ok(Device::Cpu)));
        let error = Device::Gpu.check().unwrap_err();
        assert_eq!(error.to_string(), "this build has no kernels for the gpu; use the cpu");
        assert_eq!(error.code(), "TT0201");
    }
}
