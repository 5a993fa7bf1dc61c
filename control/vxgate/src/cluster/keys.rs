//! Keys and certificates: `vxgate cluster keygen` and `fingerprint`, and how `run` reads them.
//!
//! A certificate is only the form that TLS wants a public key in. What peers compare is the pin: SHA-256 of the public
//! key (SubjectPublicKeyInfo, RFC 5280 §4.1.2.7), as in RFC 7469 §2.4. Names and dates in it mean nothing.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use graviola::hashing::{Hash, Sha256};
use graviola::signing::eddsa::Ed25519SigningKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use thiserror::Error;

/// Names of the files that `keygen` writes.
const FILES: [&str; 2] = ["cluster.key", "cluster.crt"];

/// SHA-256 of a public key, as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pin(pub(crate) [u8; 32]);

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPin;

impl FromStr for Pin {
    type Err = NoPin;

    fn from_str(text: &str) -> Result<Self, NoPin> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64).ok_or(NoPin)?;
        let mut pin = [0; 32];
        for (byte, pair) in pin.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let mut value = 0;
            for &digit in pair {
                value = value * 16 + char::from(digit).to_digit(16).ok_or(NoPin)?;
            }
            *byte = value as u8;
        }
        Ok(Self(pin))
    }
}

impl Pin {
    /// That of a certificate's public key; `None` if it is no certificate.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let key = ParsedCertificate::try_from(certificate).ok()?.subject_public_key_info();
        Some(Self(sha256(&key)))
    }
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(Sha256::hash(bytes))
}

/// A finished SHA-256.
pub(super) fn digest(hash: graviola::hashing::HashOutput) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.as_ref());
    digest
}

/// Why there is no key or certificate.
#[derive(Debug, Error)]
pub(crate) enum KeyError {
    /// The cryptography needs more of the CPU.
    #[error(
        "this CPU lacks instructions that the cryptography of the peer session needs (on x86-64 AES, PCLMULQDQ, SSSE3, \
         AVX, AVX2, BMI2 and ADX, which those since about 2014 have; on ARM AES, SHA2, PMULL and NEON): run gateways of a \
         cluster on another CPU, or have the hypervisor pass these on"
    )]
    Cpu,
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A file is there.
    #[error("{} is there: a key is never overwritten; move it away, or choose another directory with --out", .0.display())]
    Exists(PathBuf),
    /// It is something else.
    #[error("{} has no {what} in PEM: give the file that `vxgate cluster keygen` wrote", path.display())]
    Content { path: PathBuf, what: &'static str },
    /// Others can read it.
    #[error("{} can be read by others (mode {mode:03o}): chmod 600 it; make a new key if others may have read it", path.display())]
    Readable { path: PathBuf, mode: u32 },
    /// What is in it is no secret.
    #[error("the first line of {} must have 1 to {} bytes: `openssl rand -hex 10`, say", path.display(), bfd::MAX_SECRET)]
    Secret { path: PathBuf },
    /// The library says no.
    #[error("no key: {0}")]
    Library(String),
}

/// Whether the CPU has what the cryptography needs; without it the library would end the process.
///
/// # Errors
/// [`KeyError::Cpu`]
pub(crate) fn check_cpu() -> Result<(), KeyError> {
    graviola::util::is_cpu_supported().then_some(()).ok_or(KeyError::Cpu)
}

/// The key and certificate of this gateway.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) pin: Pin,
}

impl Identity {
    /// Reads them.
    ///
    /// # Errors
    /// If one cannot be read or is something else, or the key is not private. Whether they belong together is found out
    /// when TLS is set up.
    pub(crate) fn load(key: &Path, certificate: &Path) -> Result<Self, KeyError> {
        check_cpu()?;
        let failed = |path: &Path, source| KeyError::Io { path: path.into(), source };
        let mode = fs::metadata(key).map_err(|source| failed(key, source))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Readable { path: key.into(), mode });
        }
        let text = fs::read(key).map_err(|source| failed(key, source))?;
        let content = |path: &Path, what| KeyError::Content { path: path.into(), what };
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| content(key, "private key"))?;
        let (certificate, pin) = read_certificate(certificate)?;
        Ok(Self { key, certificate, pin })
    }
}

fn read_certificate(path: &Path) -> Result<(CertificateDer<'static>, Pin), KeyError> {
    let text = fs::read(path).map_err(|source| KeyError::Io { path: path.into(), source })?;
    let content = || KeyError::Content { path: path.into(), what: "certificate" };
    let certificate = CertificateDer::from_pem_slice(&text).map_err(|_| content())?;
    let pin = Pin::of(&certificate).ok_or_else(content)?;
    Ok((certificate, pin))
}

/// `vxgate cluster fingerprint`: the pin of a certificate.
pub(crate) fn fingerprint(path: &Path) -> Result<Pin, KeyError> {
    check_cpu()?;
    read_certificate(path).map(|(_, pin)| pin)
}

/// `vxgate cluster keygen`: makes a key (for this user alone) and its certificate in a directory.
///
/// # Errors
/// If one of the files is there: neither is touched.
pub(crate) fn generate(directory: &Path) -> Result<([PathBuf; 2], Pin), KeyError> {
    check_cpu()?;
    let (key, certificate) = new_pair()?;
    let io = |path: &Path, source| KeyError::Io { path: path.into(), source };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| io(directory, source))?;
    let paths = FILES.map(|name| directory.join(name));
    if let Some(path) = paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(KeyError::Exists(path.clone()));
    }
    let pin = Pin::of(&certificate).ok_or_else(|| KeyError::Library("an unreadable certificate".into()))?;
    for (path, mode, tag, bytes) in
        [(&paths[0], 0o600, "PRIVATE KEY", &key[..]), (&paths[1], 0o644, "CERTIFICATE", &certificate[..])]
    {
        // Nobody has made it meanwhile, or that one's stays.
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        let text = pem::encode(&pem::Pem::new(tag, bytes));
        file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(|source| io(path, source))?;
    }
    Ok((paths, pin))
}

/// What comes before the 32 bytes of an Ed25519 key in version 1 of PKCS #8 (RFC 8410 §7). The library writes version 2,
/// which OpenSSL 3.0 does not read.
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A key (PKCS #8) and its certificate, both in DER.
fn new_pair() -> Result<(Vec<u8>, CertificateDer<'static>), KeyError> {
    let library = |error: &dyn fmt::Debug| KeyError::Library(format!("{error:?}"));
    let key = Ed25519SigningKey::generate().map_err(|error| library(&error))?;
    let der = [&PKCS8[..], &key.as_seed()].concat();
    let certificate = certify(&key, Dates::Long).map_err(|error| library(&error))?;
    Ok((der, certificate))
}

/// For how long a certificate says it is valid. Nobody looks.
pub(super) enum Dates {
    Long,
    #[cfg(test)]
    Past,
}

/// A certificate of the key, signed by itself.
pub(super) fn certify(
    key: &Ed25519SigningKey,
    dates: Dates,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "vxgate");
    // Of the public key, so that two certificates of one key are one.
    let public = key.public_key().as_bytes();
    let mut serial = sha256(&public);
    serial[0] &= 0x7f;
    parameters.serial_number = Some(rcgen::SerialNumber::from_slice(&serial[..16]));
    match dates {
        Dates::Long => {}
        #[cfg(test)]
        Dates::Past => parameters.not_after = rcgen::date_time_ymd(2001, 1, 1),
    }
    let signer = Signer { key, public };
    parameters.self_signed(&signer).map(|certificate| certificate.der().clone())
}

struct Signer<'a> {
    key: &'a Ed25519SigningKey,
    public: [u8; 32],
}

impl rcgen::PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.sign(message).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("vxgate-keys-{}-{name}", std::process::id()))
    }

    #[test]
    fn what_is_made_is_read_and_never_overwritten() {
        let directory = directory("made");
        let ([key, certificate], pin) = generate(&directory).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&key)), (0o700, 0o600));
        let identity = Identity::load(&key, &certificate).unwrap();
        assert_eq!((identity.pin, fingerprint(&certificate).unwrap()), (pin, pin));

        let before = fs::read(&key).unwrap();
        let error = generate(&directory).unwrap_err().to_string();
        assert!(error.contains("cluster.key is there"), "{error}");
        fs::remove_file(&certificate).unwrap();
        generate(&directory).unwrap_err();
        assert_eq!(fs::read(&key).unwrap(), before);
        assert!(!certificate.exists(), "nothing was written");

        let error = Identity::load(&key, &certificate).unwrap_err().to_string();
        assert!(error.contains("cluster.crt"), "{error}");
        let error = fingerprint(&key).unwrap_err().to_string();
        assert!(error.contains("no certificate in PEM"), "{error}");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::load(&key, &certificate).unwrap_err().to_string();
        assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_pin_is_that_of_the_key_whatever_the_certificate_says() {
        let key = Ed25519SigningKey::generate().unwrap();
        let [long, past] =
            [Dates::Long, Dates::Past].map(|dates| Pin::of(&certify(&key, dates).unwrap()).unwrap());
        assert_eq!(long, past);
        let mut buffer = [0; 64];
        let spki = key.public_key().to_spki_der(&mut buffer).unwrap().to_vec();
        assert_eq!(long, Pin(sha256(&spki)));
        assert_eq!(long.to_string().parse(), Ok(long));
        let text = long.to_string();
        for wrong in [
            &text[..70],
            &text[1..],
            &text.replace("sha256:", "sha512:"),
            &text.replacen(&text[9..10], "é", 1),
        ] {
            assert_eq!(wrong.parse::<Pin>(), Err(NoPin), "{wrong}");
        }
    }
}
