//! Reads the keys of BFD sessions with other gateways.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bfd::Key;

use super::KeyError;
use crate::config::BfdKey;

/// The keys, those of files read from their first lines.
///
/// # Errors
/// If a file cannot be read, can be read by others, or has no secret.
pub(super) fn load(keys: &[BfdKey]) -> Result<Vec<Key>, KeyError> {
    let load = |key: &BfdKey| match key {
        BfdKey::Given(key) => Ok(key.clone()),
        BfdKey::File { id, path } => read(*id, path),
    };
    keys.iter().map(load).collect()
}

fn read(id: u8, path: &Path) -> Result<Key, KeyError> {
    let failed = |source| KeyError::Io { path: path.into(), source };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Readable { path: path.into(), mode });
    }
    let text = fs::read(path).map_err(failed)?;
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Key::new(id, line).ok_or_else(|| KeyError::Secret { path: path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_secret_that_is_private() {
        let directory = std::env::temp_dir().join(format!("vxgate-bfd-key-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("bfd.key");
        let load = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            super::load(&[BfdKey::File { id: 3, path: path.clone() }])
        };
        assert_eq!(load("secret\nmore\n", 0o600).unwrap(), [Key::new(3, b"secret").unwrap()]);
        let refused = |text, mode| load(text, mode).unwrap_err().to_string();
        assert!(refused("secret", 0o640).contains("chmod 600"));
        assert!(refused("\n", 0o600).contains("1 to 20 bytes"));
        assert!(refused(&"x".repeat(21), 0o600).contains("1 to 20 bytes"));
        fs::remove_dir_all(&directory).unwrap();
        assert!(super::load(&[BfdKey::File { id: 3, path }]).is_err());
    }
}
