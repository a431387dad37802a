//! As much of DER as it takes to find two things in a certificate. It reads certificates that TLS has
//! checked; of any other bytes it says nothing, and never panics.
//!
//! ```text
//!   Certificate  [ TBS [ (version) serial alg issuer validity subject … ] alg signature ]
//!   subject      [ { [ oid value ] … } … ]
//! ```

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const VERSION: u8 = 0xa0;
/// UTF8String, PrintableString, IA5String: those whose bytes are UTF-8.
const STRINGS: [u8; 3] = [0x0c, 0x13, 0x16];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Values one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next value: its tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Longer than 4 GiB is no certificate; 0x80 is not DER.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                (bytes.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next value, which has to have that tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

/// Every common name of the subject. `None`: no certificate.
pub(crate) fn common_names(certificate: &[u8]) -> Option<Vec<String>> {
    let mut tbs = Reader(Reader(Reader(certificate).take(SEQUENCE)?).take(SEQUENCE)?);
    let (first, _) = tbs.next()?;
    // Without a version that was the serial number.
    let skipped = if first == VERSION { 4 } else { 3 };
    for _ in 0..skipped {
        tbs.next()?;
    }
    let mut subject = Reader(tbs.take(SEQUENCE)?);
    let mut names = Vec::new();
    while !subject.0.is_empty() {
        let mut set = Reader(subject.take(SET)?);
        while !set.0.is_empty() {
            let mut attribute = Reader(set.take(SEQUENCE)?);
            if attribute.take(OID)? == COMMON_NAME {
                let (_, value) = attribute.next().filter(|(tag, _)| STRINGS.contains(tag))?;
                names.push(std::str::from_utf8(value).ok()?.to_owned());
            }
        }
    }
    Some(names)
}

/// The object identifier of the algorithm that a certificate is signed with.
pub(crate) fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let mut certificate = Reader(Reader(certificate).take(SEQUENCE)?);
    certificate.take(SEQUENCE)?;
    Reader(certificate.take(SEQUENCE)?).take(OID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_short_or_changed_is_no_certificate_and_no_panic() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Some");
        params.distinguished_name.push(rcgen::DnType::CommonName, "zoë");
        let made = params.self_signed(&key).expect("a certificate");
        assert_eq!(common_names(made.der()), Some(vec!["zoë".to_owned()]));
        // 1.2.840.10045.4.3.2: ECDSA with SHA-256
        let algorithm = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02][..];
        assert_eq!(signature_algorithm(made.der()), Some(algorithm));
        for length in 0..made.der().len() {
            assert_eq!(common_names(&made.der()[..length]), None);
        }
        let mut bytes = made.der().to_vec();
        for at in 0..bytes.len() {
            for value in [0, 0x30, 0x7f, 0x80, 0x84, 0xff] {
                let before = std::mem::replace(&mut bytes[at], value);
                drop((common_names(&bytes), signature_algorithm(&bytes)));
                bytes[at] = before;
            }
        }
    }
}
