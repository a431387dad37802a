//! `conclave cert`: the certificates of a secure cluster.

use std::path::PathBuf;

use certs::{Folder, Lifetime};
use clap::{Args, Subcommand};

use crate::error::StartError;

/// Flags of `conclave cert`.
#[derive(Debug, Args)]
pub(crate) struct CertArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Makes the authority that all others are signed by: ca.crt for everybody, ca.key for nobody but
    /// you. No node needs it: keep it off the machines of the cluster.
    Ca {
        #[command(flatten)]
        common: Common,
        /// Days until it must be replaced.
        #[arg(long, value_name = "N", default_value_t = 3650)]
        days: u32,
    },
    /// Makes a node's certificate, node.crt and node.key, for the names and addresses it is reached by.
    ///
    /// localhost, 127.0.0.1 and ::1 are among them in any case. One certificate may serve several nodes
    /// if it names all of them.
    Node {
        /// Host names and addresses.
        hosts: Vec<String>,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        signed: Signed,
    },
    /// Makes a user's certificate, client.USER.crt and client.USER.key: whoever has it connects as USER
    /// without a password.
    Client {
        /// The role; `conclave` is the superuser that every cluster is born with.
        user: String,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        signed: Signed,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// Folder of the certificates; made when missing.
    #[arg(long, env = "CONCLAVE_CERTS_DIR", value_name = "DIR", default_value = "certs")]
    certs_dir: PathBuf,
    /// Replace what is there.
    #[arg(long)]
    overwrite: bool,
}

#[derive(Debug, Args)]
struct Signed {
    /// The authority's key, if it is not in the folder.
    #[arg(long, value_name = "FILE")]
    ca_key: Option<PathBuf>,
    /// Days until it must be replaced.
    #[arg(long, value_name = "N", default_value_t = 1095)]
    days: u32,
}

#[expect(clippy::print_stdout, reason = "says what was done")]
pub(crate) fn run(args: CertArgs) -> Result<(), StartError> {
    let (common, name) = match &args.what {
        What::Ca { common, .. } => (common, "ca".to_owned()),
        What::Node { common, .. } => (common, "node".to_owned()),
        What::Client { common, user, .. } => (common, format!("client.{user}")),
    };
    let folder = Folder::new(&common.certs_dir);
    match &args.what {
        What::Ca { days, .. } => {
            certs::make_ca(&folder, Lifetime { days: *days }, common.overwrite)?;
        }
        What::Node { hosts, signed, .. } => {
            let mut all = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
            all.extend(
                hosts.iter().filter(|host| !all.contains(host)).cloned().collect::<Vec<_>>(),
            );
            let lifetime = Lifetime { days: signed.days };
            let ca_key = signed.ca_key.as_deref();
            certs::make_node(&folder, ca_key, &all, lifetime, common.overwrite)?;
        }
        What::Client { user, signed, .. } => {
            let lifetime = Lifetime { days: signed.days };
            let ca_key = signed.ca_key.as_deref();
            certs::make_client(&folder, ca_key, user, lifetime, common.overwrite)?;
        }
    }
    let path = |end: &str| common.certs_dir.join(format!("{name}.{end}"));
    println!("wrote {} and {}", path("crt").display(), path("key").display());
    Ok(())
}
