//! What there is to be allowed, and on which kinds of objects.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

use serde::{Deserialize, Serialize};

/// A set of privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Privileges(u16);

/// Letter in an access control list and SQL name of each privilege, from the lowest bit up.
const NAMES: [(char, &str); 12] = [
    ('a', "INSERT"),
    ('r', "SELECT"),
    ('w', "UPDATE"),
    ('d', "DELETE"),
    ('D', "TRUNCATE"),
    ('x', "REFERENCES"),
    ('t', "TRIGGER"),
    ('X', "EXECUTE"),
    ('U', "USAGE"),
    ('C', "CREATE"),
    ('T', "TEMPORARY"),
    ('c', "CONNECT"),
];

impl Privileges {
    /// No privilege.
    pub const NONE: Privileges = Privileges(0);
    /// INSERT.
    pub const INSERT: Privileges = Privileges(1);
    /// SELECT.
    pub const SELECT: Privileges = Privileges(1 << 1);
    /// UPDATE.
    pub const UPDATE: Privileges = Privileges(1 << 2);
    /// DELETE.
    pub const DELETE: Privileges = Privileges(1 << 3);
    /// TRUNCATE.
    pub const TRUNCATE: Privileges = Privileges(1 << 4);
    /// REFERENCES.
    pub const REFERENCES: Privileges = Privileges(1 << 5);
    /// TRIGGER.
    pub const TRIGGER: Privileges = Privileges(1 << 6);
    /// EXECUTE.
    pub const EXECUTE: Privileges = Privileges(1 << 7);
    /// USAGE.
    pub const USAGE: Privileges = Privileges(1 << 8);
    /// CREATE.
    pub const CREATE: Privileges = Privileges(1 << 9);
    /// TEMPORARY.
    pub const TEMPORARY: Privileges = Privileges(1 << 10);
    /// CONNECT.
    pub const CONNECT: Privileges = Privileges(1 << 11);

    /// The privilege of that name, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Privileges> {
        if name.eq_ignore_ascii_case("TEMP") {
            return Some(Privileges::TEMPORARY);
        }
        let at = NAMES.iter().position(|(_, known)| known.eq_ignore_ascii_case(name))?;
        Some(Privileges(1 << at))
    }

    /// The SQL names of what is in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(at, _)| self.0 & (1 << at) != 0).map(|(_, n)| n.1)
    }

    /// Each privilege of the set, with the letter that access control lists have for it.
    pub(crate) fn letters(self) -> impl Iterator<Item = (char, Privileges)> {
        let one = |(at, (letter, _)): (usize, (char, &str))| (letter, Privileges(1 << at));
        NAMES.into_iter().enumerate().map(one).filter(move |(_, one)| self.has(*one))
    }

    /// Each privilege of the set by itself.
    pub fn each(self) -> impl Iterator<Item = Privileges> {
        (0..NAMES.len()).map(|at| Privileges(1 << at)).filter(move |one| self.has(*one))
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `wanted` is in it.
    #[must_use]
    pub fn has(self, wanted: Privileges) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// How many there are.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }
}

impl BitOr for Privileges {
    type Output = Privileges;
    fn bitor(self, other: Privileges) -> Privileges {
        Privileges(self.0 | other.0)
    }
}

impl BitOrAssign for Privileges {
    fn bitor_assign(&mut self, other: Privileges) {
        self.0 |= other.0;
    }
}

impl BitAnd for Privileges {
    type Output = Privileges;
    fn bitand(self, other: Privileges) -> Privileges {
        Privileges(self.0 & other.0)
    }
}

impl Not for Privileges {
    type Output = Privileges;
    fn not(self) -> Privileges {
        Privileges(!self.0)
    }
}

/// Kinds of objects that privileges are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ObjectKind {
    /// Tables and views.
    Table,
    /// Sequences.
    Sequence,
    /// Functions: only of those to be made, in default privileges.
    Function,
    /// Types: likewise.
    Type,
    /// Schemas.
    Schema,
    /// Databases.
    Database,
}

impl ObjectKind {
    /// Every privilege that there is on such objects.
    #[must_use]
    pub fn all(self) -> Privileges {
        use Privileges as P;
        match self {
            ObjectKind::Table => {
                P::INSERT
                    | P::SELECT
                    | P::UPDATE
                    | P::DELETE
                    | P::TRUNCATE
                    | P::REFERENCES
                    | P::TRIGGER
            }
            ObjectKind::Sequence => P::SELECT | P::UPDATE | P::USAGE,
            ObjectKind::Function => P::EXECUTE,
            ObjectKind::Type => P::USAGE,
            ObjectKind::Schema => P::USAGE | P::CREATE,
            ObjectKind::Database => P::CREATE | P::TEMPORARY | P::CONNECT,
        }
    }

    /// What everybody may do unless it is revoked.
    #[must_use]
    pub fn public(self) -> Privileges {
        match self {
            ObjectKind::Table | ObjectKind::Sequence | ObjectKind::Schema => Privileges::NONE,
            ObjectKind::Function => Privileges::EXECUTE,
            ObjectKind::Type => Privileges::USAGE,
            ObjectKind::Database => Privileges::TEMPORARY | Privileges::CONNECT,
        }
    }

    /// What messages call such an object.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ObjectKind::Table => "table",
            ObjectKind::Sequence => "sequence",
            ObjectKind::Function => "function",
            ObjectKind::Type => "type",
            ObjectKind::Schema => "schema",
            ObjectKind::Database => "database",
        }
    }
}

impl fmt::Display for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(", "))
    }
}
