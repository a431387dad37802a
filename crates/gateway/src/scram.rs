//! The server's side of SCRAM-SHA-256 (RFC 5802, 7677), as a state machine without I/O.
//!
//! ```text
//!   client-first ──▶ Exchange::begin ──server-first──▶ client-final ──▶ Exchange::end ──▶ server-final
//!   n,,n=,r=abc                        r=abcXYZ,s=…,i=…   c=biws,r=abcXYZ,p=proof            v=…
//! ```
//!
//! The server knows a [`Verifier`], from which the password does not follow and with which nobody can
//! pass for the client. Whom it does not know gets a made-up one: the exchange looks the same, and
//! fails at its end.
//!
//! # Rules
//!
//! - **S1** The nonce of the second message is that of the first, with the server's part behind it.
//! - **S2** A client that could bind the channel, and believes that the server cannot, is deceived by
//!   somebody in between.
//! - **S3** What is secret is compared in constant time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac};

/// Mechanism without channel binding.
pub(crate) const PLAIN: &str = "SCRAM-SHA-256";
/// Mechanism with it.
pub(crate) const PLUS: &str = "SCRAM-SHA-256-PLUS";

const KEY_BYTES: usize = digest::SHA256_OUTPUT_LEN;
const BINDING: &str = "tls-server-end-point";
/// Iterations of passwords made here, and so of made-up verifiers.
const ITERATIONS: u32 = 4096;
const SALT_BYTES: usize = 16;

/// What the server keeps of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verifier {
    iterations: u32,
    salt: String,
    stored_key: [u8; KEY_BYTES],
    server_key: [u8; KEY_BYTES],
    /// Nobody's: no proof is good.
    made_up: bool,
}

impl Verifier {
    /// `SCRAM-SHA-256$iterations:salt$stored key:server key`, as roles have it.
    pub(crate) fn parse(text: &str) -> Option<Verifier> {
        let rest = text.strip_prefix("SCRAM-SHA-256$")?;
        let (head, keys) = rest.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
        Some(Verifier {
            iterations: iterations.parse().ok().filter(|n| *n > 0)?,
            salt: STANDARD.decode(salt).ok().map(|_| salt.to_owned())?,
            stored_key: key(stored)?,
            server_key: key(server)?,
            made_up: false,
        })
    }

    /// One for a role that has none: the same for the same name and secret, so that asking twice
    /// does not tell it from a real one.
    pub(crate) fn made_up(user: &str, secret: &[u8]) -> Verifier {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let salt = hmac::sign(&key, user.as_bytes());
        Verifier {
            iterations: ITERATIONS,
            salt: STANDARD.encode(&salt.as_ref()[..SALT_BYTES]),
            stored_key: [0; KEY_BYTES],
            server_key: [0; KEY_BYTES],
            made_up: true,
        }
    }
}

/// Why an exchange ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The client does not know the password.
    Password,
    /// The message is not one of SCRAM's.
    Malformed(&'static str),
    /// The client is bound to another channel, or believes that none can be bound to.
    Binding(&'static str),
}

/// An exchange between its two rounds.
#[derive(Debug)]
pub(crate) struct Exchange {
    verifier: Verifier,
    nonce: String,
    client_first: String,
    server_first: String,
    /// What the client has to repeat of the first message's header, and of the channel.
    bound: Vec<u8>,
}

/// Attributes of a message, in their order.
fn attribute(text: Option<&str>, name: char) -> Result<&str, Failure> {
    let value = text.and_then(|text| text.strip_prefix(name)?.strip_prefix('='));
    value.ok_or(Failure::Malformed("attribute missing"))
}

fn text(message: &[u8]) -> Result<&str, Failure> {
    std::str::from_utf8(message).map_err(|_| Failure::Malformed("not UTF-8"))
}

impl Exchange {
    /// Answers the client's first message. `channel` is what the client may bind to; `None`: nothing.
    pub(crate) fn begin(
        mechanism: &str,
        message: &[u8],
        verifier: Verifier,
        server_nonce: &str,
        channel: Option<&[u8]>,
    ) -> Result<(Exchange, String), Failure> {
        let message = text(message)?;
        let mut parts = message.splitn(3, ',');
        let flag = parts.next().unwrap_or_default();
        let authorization = parts.next().ok_or(Failure::Malformed("no header"))?;
        let bare = parts.next().ok_or(Failure::Malformed("no header"))?;
        let plus = mechanism == PLUS;
        let channel = match flag {
            "n" if !plus => &[][..],
            "y" if !plus && channel.is_none() => &[][..],
            "y" if !plus => {
                return Err(Failure::Binding("the client believes that the server has none"));
            }
            flag => match (flag.strip_prefix("p="), channel) {
                (Some(BINDING), Some(channel)) if plus => channel,
                (Some(BINDING), _) => return Err(Failure::Binding("not for this mechanism")),
                (Some(_), _) => return Err(Failure::Binding("only tls-server-end-point is known")),
                (None, _) => return Err(Failure::Malformed("unexpected channel-binding flag")),
            },
        };
        if !authorization.is_empty() {
            return Err(Failure::Malformed("acting for others is not supported"));
        }
        let mut attributes = bare.split(',');
        let first = attributes.next();
        if first.is_some_and(|a| a.starts_with("m=")) {
            return Err(Failure::Malformed("an extension that is not supported"));
        }
        // The name is that of the start-up packet, whatever is said here.
        attribute(first, 'n')?;
        let client_nonce = attribute(attributes.next(), 'r')?;
        if client_nonce.is_empty() || !client_nonce.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            return Err(Failure::Malformed("nonce"));
        }
        let nonce = format!("{client_nonce}{server_nonce}");
        let server_first = format!("r={nonce},s={},i={}", verifier.salt, verifier.iterations);
        let header = format!("{flag},{authorization},");
        let bound = [header.as_bytes(), channel].concat();
        let client_first = bare.to_owned();
        let answer = server_first.clone();
        Ok((Exchange { verifier, nonce, client_first, server_first, bound }, answer))
    }

    /// Answers the client's last message, if it proves the password.
    pub(crate) fn end(&self, message: &[u8]) -> Result<String, Failure> {
        let message = text(message)?;
        let (without_proof, proof) =
            message.rsplit_once(",p=").ok_or(Failure::Malformed("no proof"))?;
        let mut attributes = without_proof.split(',');
        let bound = STANDARD
            .decode(attribute(attributes.next(), 'c')?)
            .map_err(|_| Failure::Malformed("channel binding"))?;
        if !same(&bound, &self.bound) {
            return Err(Failure::Binding("the client is bound to another channel"));
        }
        // S1
        if !same(attribute(attributes.next(), 'r')?.as_bytes(), self.nonce.as_bytes()) {
            return Err(Failure::Malformed("nonce"));
        }
        let proof: [u8; KEY_BYTES] = STANDARD
            .decode(proof)
            .ok()
            .and_then(|proof| proof.try_into().ok())
            .ok_or(Failure::Malformed("proof"))?;
        let said = format!("{},{},{without_proof}", self.client_first, self.server_first);
        let signature = sign(&self.verifier.stored_key, said.as_bytes());
        let mut client_key = proof;
        for (byte, signed) in client_key.iter_mut().zip(signature.as_ref()) {
            *byte ^= signed;
        }
        let proven = digest::digest(&digest::SHA256, &client_key);
        let proven = same(proven.as_ref(), &self.verifier.stored_key);
        if !proven || self.verifier.made_up {
            return Err(Failure::Password);
        }
        let signature = sign(&self.verifier.server_key, said.as_bytes());
        Ok(format!("v={}", STANDARD.encode(signature)))
    }
}

fn sign(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

/// Whether two texts are the same, in a time that depends on their lengths only (S3).
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the password `pencil`, with the salt of RFC 7677.
    fn pencil() -> Verifier {
        let mut salted = [0; KEY_BYTES];
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        ring::pbkdf2::derive(
            ring::pbkdf2::PBKDF2_HMAC_SHA256,
            ITERATIONS.try_into().expect("not 0"),
            &salt,
            b"pencil",
            &mut salted,
        );
        let client_key = sign(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, client_key.as_ref());
        let server = sign(&salted, b"Server Key");
        let text = format!(
            "SCRAM-SHA-256$4096:{}${}:{}",
            STANDARD.encode(salt),
            STANDARD.encode(stored),
            STANDARD.encode(server)
        );
        Verifier::parse(&text).expect("well made")
    }

    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    #[test]
    fn the_example_of_the_rfc() {
        let (exchange, first) =
            Exchange::begin(PLAIN, FIRST, pencil(), SERVER_NONCE, None).expect("a first message");
        assert_eq!(
            first,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        assert_eq!(
            exchange.end(LAST.as_bytes()),
            Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_owned())
        );
    }

    #[test]
    fn a_wrong_proof_and_a_made_up_role_fail_alike() {
        let wrong = LAST.replace("dHzb", "AAAA");
        let (exchange, _) =
            Exchange::begin(PLAIN, FIRST, pencil(), SERVER_NONCE, None).expect("a first message");
        assert_eq!(exchange.end(wrong.as_bytes()), Err(Failure::Password));
        let nobody = Verifier::made_up("nobody", b"secret");
        assert_eq!(nobody, Verifier::made_up("nobody", b"secret"));
        assert_ne!(nobody, Verifier::made_up("nobody", b"another"));
        let (exchange, _) =
            Exchange::begin(PLAIN, FIRST, nobody, SERVER_NONCE, None).expect("a first message");
        assert_eq!(exchange.end(LAST.as_bytes()), Err(Failure::Password));
    }

    #[test]
    fn a_channel_is_bound_or_it_is_noticed() {
        let begin = |mechanism, header: &str, channel| {
            let message = format!("{header},,n=,r=abc");
            Exchange::begin(mechanism, message.as_bytes(), pencil(), "xyz", channel)
        };
        let channel = Some(&b"hash"[..]);
        let (bound, _) = begin(PLUS, "p=tls-server-end-point", channel).expect("bound");
        let end = |exchange: &Exchange, header: &str, hash: &[u8]| {
            let said = STANDARD.encode([header.as_bytes(), hash].concat());
            let proof = STANDARD.encode([0; 32]);
            exchange.end(format!("c={said},r=abcxyz,p={proof}").as_bytes())
        };
        // The proof is wrong, so that is what remains to be said when the channel is right.
        let header = "p=tls-server-end-point,,";
        assert_eq!(end(&bound, header, b"hash"), Err(Failure::Password));
        assert!(matches!(end(&bound, header, b"other"), Err(Failure::Binding(_))));
        assert!(matches!(end(&bound, "n,,", b""), Err(Failure::Binding(_))));
        // S2, and everything that does not go together.
        for (mechanism, header, channel) in [
            (PLAIN, "y", channel),
            (PLAIN, "p=tls-server-end-point", channel),
            (PLUS, "p=tls-unique", channel),
            (PLUS, "n", channel),
            (PLUS, "p=tls-server-end-point", None),
        ] {
            assert!(begin(mechanism, header, channel).is_err(), "{mechanism} {header}");
        }
        assert!(begin(PLAIN, "y", None).is_ok());
        assert!(begin(PLAIN, "n", channel).is_ok());
    }

    #[test]
    fn garbage_is_no_message() {
        for message in [
            &b""[..],
            b"n",
            b"n,,",
            b"n,,n=user",
            b"n,,n=user,r=",
            b"n,,m=x,n=user,r=abc",
            b"n,a=admin,n=user,r=abc",
            b"x,,n=user,r=abc",
            b"n,,n=user,r=\xff",
        ] {
            let begun = Exchange::begin(PLAIN, message, pencil(), "xyz", None);
            assert!(matches!(begun, Err(Failure::Malformed(_))), "{message:?}");
        }
        let (exchange, _) =
            Exchange::begin(PLAIN, FIRST, pencil(), SERVER_NONCE, None).expect("a first message");
        for message in ["", "c=biws", "c=biws,r=abc,p=", "c=biws,p=AAAA", "c=!,r=abc,p=AAAA"] {
            assert!(exchange.end(message.as_bytes()).is_err(), "{message}");
        }
    }
}
