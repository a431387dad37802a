//! How are passwords asked for, and changed?
//!
//! Typed on the terminal, without being shown. A new one leaves this process as a SCRAM-SHA-256
//! verifier: neither the server nor its logs see it.

use postgres_protocol::password::scram_sha_256;

use crate::error::ShellError;
use crate::input::Input;
use crate::interpreter::{Flow, Shell};

/// Asks the person at the terminal.
pub(crate) fn ask(prompt: &str) -> Result<String, ShellError> {
    rpassword::prompt_password(prompt).map_err(ShellError::Terminal)
}

/// The statement that gives a role a password.
fn statement(user: &str, password: &str) -> String {
    let verifier = scram_sha_256(password.as_bytes());
    format!("ALTER ROLE \"{}\" PASSWORD '{verifier}'", user.replace('"', "\"\""))
}

impl Shell {
    /// `\password [USER]`.
    pub(crate) async fn change_password(
        &mut self,
        user: &str,
        input: &mut Input,
    ) -> Result<Flow, ShellError> {
        if !self.interactive {
            return self.complain("\\password: needs a terminal to ask for the password");
        }
        let user = match user {
            "" => self.target.user().to_owned(),
            user => user.trim_matches('"').to_owned(),
        };
        let password = ask(&format!("Enter new password for user \"{user}\": "))?;
        if password != ask("Enter it again: ")? {
            return self.complain("\\password: they are not the same");
        }
        self.statement(&statement(&user, &password), input).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_itself_is_not_in_the_statement() {
        let made = statement("a\"b", "sesame");
        assert!(made.starts_with("ALTER ROLE \"a\"\"b\" PASSWORD 'SCRAM-SHA-256$4096:"), "{made}");
        assert!(!made.contains("sesame"));
    }
}
