//! The architecture of a binary, and whether it is static.

use anyhow::{Result, bail, ensure};

const MACHINE: usize = 18;
const PROGRAM_HEADERS: usize = 32;
const PROGRAM_HEADER_SIZE: usize = 54;
const PROGRAM_HEADER_COUNT: usize = 56;
const MACHINE_X86_64: u16 = 62;
const MACHINE_AARCH64: u16 = 183;
/// The type of the header that names a dynamic linker.
const INTERPRETER: u32 = 3;

/// The architecture of a static binary, by Go's name for it, as images have it.
///
/// # Errors
/// When it is not a 64-bit little-endian ELF binary, is for an unknown machine, or needs a dynamic linker.
pub fn architecture(binary: &[u8]) -> Result<&'static str> {
    ensure!(
        binary.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]),
        "it is not a 64-bit little-endian ELF binary"
    );
    let architecture = match u16::from_le_bytes(at(binary, MACHINE)?) {
        MACHINE_X86_64 => "amd64",
        MACHINE_AARCH64 => "arm64",
        machine => bail!("it is for ELF machine {machine}; supported are x86-64 (62) and aarch64 (183)"),
    };
    ensure!(
        !has_interpreter(binary)?,
        "it needs a dynamic linker, and the image has none: build it with RUSTFLAGS='-C target-feature=+crt-static'"
    );
    Ok(architecture)
}

fn has_interpreter(binary: &[u8]) -> Result<bool> {
    let first = usize::try_from(u64::from_le_bytes(at(binary, PROGRAM_HEADERS)?))?;
    let size = usize::from(u16::from_le_bytes(at(binary, PROGRAM_HEADER_SIZE)?));
    let count = usize::from(u16::from_le_bytes(at(binary, PROGRAM_HEADER_COUNT)?));
    for index in 0..count {
        if u32::from_le_bytes(at(binary, first.saturating_add(index * size))?) == INTERPRETER {
            return Ok(true);
        }
    }
    Ok(false)
}

fn at<const N: usize>(binary: &[u8], offset: usize) -> Result<[u8; N]> {
    match binary.get(offset..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => Ok(*bytes),
        None => bail!("the ELF binary is truncated"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An ELF header, and a program header of each of these types.
    pub(crate) fn elf(machine: u16, types: &[u32]) -> Vec<u8> {
        let mut binary = vec![0; 64 + types.len() * 56];
        binary[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        binary[MACHINE..][..2].copy_from_slice(&machine.to_le_bytes());
        binary[PROGRAM_HEADERS..][..8].copy_from_slice(&64_u64.to_le_bytes());
        binary[PROGRAM_HEADER_SIZE..][..2].copy_from_slice(&56_u16.to_le_bytes());
        binary[PROGRAM_HEADER_COUNT..][..2].copy_from_slice(&u16::try_from(types.len()).unwrap().to_le_bytes());
        for (index, kind) in types.iter().enumerate() {
            binary[64 + index * 56..][..4].copy_from_slice(&kind.to_le_bytes());
        }
        binary
    }

    #[test]
    fn a_static_binary_has_the_architecture_of_its_header() {
        assert_eq!(architecture(&elf(MACHINE_X86_64, &[6, 1, 2])).unwrap(), "amd64");
        assert_eq!(architecture(&elf(MACHINE_AARCH64, &[])).unwrap(), "arm64");
    }

    #[test]
    fn a_binary_that_an_empty_image_cannot_run_is_refused() {
        for (binary, reason) in [
            (elf(MACHINE_X86_64, &[6, INTERPRETER, 1]), "crt-static"),
            (elf(8, &[]), "machine 8"),
            (b"#!/bin/sh\n".to_vec(), "not a 64-bit"),
            (elf(MACHINE_X86_64, &[1, 1])[..100].to_vec(), "truncated"),
        ] {
            let error = architecture(&binary).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn this_test_binary_is_dynamic_unless_it_is_built_static() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(architecture(&own).is_err(), cfg!(not(target_feature = "crt-static")));
    }
}
