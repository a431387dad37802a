//! What roles may do with an object, and who gave them the right.
//!
//! PostgreSQL's access control lists: each entry says what a grantee (0: everybody) may do, what of
//! it it may hand on, and who granted it. An object without a list has its kind's default: all for
//! the owner, and for everybody what [`ObjectKind::public`] says.
//!
//! Pure data. Who is a member of what, and so has whose privileges, is [`crate::role`]'s business.
//!
//! # Invariants
//!
//! - **A1** At most one entry per pair of grantee and grantor; none that grants nothing.
//! - **A2** What may be handed on (`grantable`) is part of what is granted.
//! - **A3** Following grantors from any entry leads to the owner, who never loses the right to grant.

use serde::{Deserialize, Serialize};

use crate::privileges::{ObjectKind, Privileges};

/// Identity of a role. Also its oid.
pub type RoleId = u32;

/// The grantee that stands for every role.
pub const PUBLIC: RoleId = 0;

/// One entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclItem {
    /// Who may; [`PUBLIC`]: everybody.
    pub grantee: RoleId,
    /// Who said so.
    pub grantor: RoleId,
    /// What.
    pub privileges: Privileges,
    /// What of it the grantee may hand on.
    #[serde(default)]
    pub grantable: Privileges,
}

/// Why a list cannot be changed as wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclError {
    /// Others have what is revoked from the one that revokes, and CASCADE was not said.
    Dependent,
    /// The right to grant would come back to whom it comes from.
    Circular,
}

/// An access control list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Acl(Vec<AclItem>);

impl Acl {
    /// What holds for an object without a list.
    #[must_use]
    pub fn default_of(kind: ObjectKind, owner: RoleId) -> Acl {
        let item = |grantee, privileges| AclItem {
            grantee,
            grantor: owner,
            privileges,
            grantable: Privileges::NONE,
        };
        let public = Some(item(PUBLIC, kind.public())).filter(|i| !i.privileges.is_empty());
        Acl(public.into_iter().chain([item(owner, kind.all())]).collect())
    }

    /// A list of these entries.
    #[must_use]
    pub fn of(items: Vec<AclItem>) -> Acl {
        Acl(items)
    }

    /// The entries.
    #[must_use]
    pub fn items(&self) -> &[AclItem] {
        &self.0
    }

    /// What all the roles that `holds` names may do, together.
    #[must_use]
    pub fn privileges(&self, holds: impl Fn(RoleId) -> bool) -> Privileges {
        self.held(holds).fold(Privileges::NONE, |all, item| all | item.privileges)
    }

    /// What of it they may hand on; the owner's rights are not in the list.
    #[must_use]
    pub fn grantable(&self, holds: impl Fn(RoleId) -> bool) -> Privileges {
        self.held(holds).fold(Privileges::NONE, |all, item| all | item.grantable)
    }

    fn held(&self, holds: impl Fn(RoleId) -> bool) -> impl Iterator<Item = &AclItem> {
        self.0.iter().filter(move |item| item.grantee == PUBLIC || holds(item.grantee))
    }

    /// Grants to one role, with the right to hand on if `with_option`.
    pub fn grant(
        &mut self,
        grantor: RoleId,
        grantee: RoleId,
        privileges: Privileges,
        with_option: bool,
        owner: RoleId,
    ) -> Result<(), AclError> {
        if with_option && self.would_circle(grantor, grantee, privileges, owner) {
            return Err(AclError::Circular);
        }
        let grantable = if with_option { privileges } else { Privileges::NONE };
        match self.0.iter_mut().find(|i| i.grantee == grantee && i.grantor == grantor) {
            Some(item) => {
                item.privileges |= privileges;
                item.grantable |= grantable;
            }
            None if privileges.is_empty() => {}
            None => self.0.push(AclItem { grantee, grantor, privileges, grantable }),
        }
        Ok(())
    }

    /// Whether a role would owe its right to grant to one that has it from the role itself.
    fn would_circle(
        &self,
        grantor: RoleId,
        grantee: RoleId,
        privileges: Privileges,
        owner: RoleId,
    ) -> bool {
        if grantor == owner {
            return false;
        }
        if grantor == grantee {
            return true;
        }
        let mut without = self.clone();
        without.take_back(grantee, privileges, owner);
        let left = without.grantable(|role| role == grantor);
        !left.has(privileges & self.grantable(|role| role == grantor))
    }

    /// Takes all rights to grant from a role, and what hangs on them.
    fn take_back(&mut self, grantee: RoleId, privileges: Privileges, owner: RoleId) {
        while let Some(item) = self
            .0
            .iter()
            .find(|i| i.grantee == grantee && !(i.grantable & privileges).is_empty())
            .copied()
        {
            let cascade = self.revoke(item.grantor, grantee, privileges, true, true, owner);
            debug_assert_eq!(cascade, Ok(()), "a cascade has no obstacle");
        }
    }

    /// Revokes from one role: the privileges, or only the right to hand them on. What the role has
    /// handed on goes too with `cascade`, and is an obstacle without.
    pub fn revoke(
        &mut self,
        grantor: RoleId,
        grantee: RoleId,
        privileges: Privileges,
        option_only: bool,
        cascade: bool,
        owner: RoleId,
    ) -> Result<(), AclError> {
        let at = self.0.iter().position(|i| i.grantee == grantee && i.grantor == grantor);
        let Some(at) = at else { return Ok(()) };
        let item = &mut self.0[at];
        let lost = item.grantable & privileges;
        item.grantable = item.grantable & !privileges;
        if !option_only {
            item.privileges = item.privileges & !privileges;
        }
        if item.privileges.is_empty() {
            self.0.remove(at);
        }
        if grantee == owner {
            return Ok(());
        }
        // Others may have given it the same right.
        let lost = lost & !self.grantable_from(owner, grantee);
        while let Some(handed) = self
            .0
            .iter()
            .find(|i| i.grantor == grantee && !(i.privileges & lost).is_empty())
            .copied()
        {
            if !cascade {
                return Err(AclError::Dependent);
            }
            self.revoke(grantee, handed.grantee, lost, false, true, owner)?;
        }
        Ok(())
    }

    /// What of its rights a role may hand on by a way that begins at the owner. Roles that gave it only to
    /// each other have none.
    fn grantable_from(&self, owner: RoleId, role: RoleId) -> Privileges {
        let mut reached = vec![(owner, !Privileges::NONE)];
        let of = |reached: &[(RoleId, Privileges)], role| {
            let ways = reached.iter().filter(|(to, _)| *to == role);
            ways.fold(Privileges::NONE, |all, (_, some)| all | *some)
        };
        let mut at = 0;
        while at < reached.len() {
            let (from, may) = reached[at];
            at += 1;
            for item in self.0.iter().filter(|item| item.grantor == from) {
                let given = item.grantable & may;
                if !of(&reached, item.grantee).has(given) {
                    reached.push((item.grantee, given));
                }
            }
        }
        of(&reached, role)
    }

    /// The list when the object goes from one owner to another: what one had or gave is the other's.
    #[must_use]
    pub fn of_new_owner(&self, old: RoleId, new: RoleId) -> Acl {
        let other = |role| if role == old { new } else { role };
        let mut next = Acl::default();
        for item in &self.0 {
            let moved =
                AclItem { grantee: other(item.grantee), grantor: other(item.grantor), ..*item };
            next.merge(moved);
        }
        next
    }

    /// Adds what an entry grants.
    pub fn merge(&mut self, item: AclItem) {
        let same = |i: &&mut AclItem| i.grantee == item.grantee && i.grantor == item.grantor;
        match self.0.iter_mut().find(same) {
            Some(known) => {
                known.privileges |= item.privileges;
                known.grantable |= item.grantable;
            }
            None => self.0.push(item),
        }
    }

    /// Whether a role is named in it.
    #[must_use]
    pub fn mentions(&self, role: RoleId) -> bool {
        self.0.iter().any(|i| i.grantee == role || i.grantor == role)
    }

    /// The list without a role, and without what it has handed on.
    #[must_use]
    pub fn without(&self, role: RoleId, owner: RoleId) -> Acl {
        let mut next = self.clone();
        next.take_back(role, !Privileges::NONE, owner);
        next.0.retain(|i| i.grantee != role && i.grantor != role);
        next
    }

    /// Whether two lists grant the same, in whatever order.
    #[must_use]
    pub fn same(&self, other: &Acl) -> bool {
        self.0.len() == other.0.len() && self.0.iter().all(|item| other.0.contains(item))
    }

    /// The entries as `pg_class.relacl` shows them: `alice=r*w/conclave`. `name` quotes.
    pub fn shown(&self, name: impl Fn(RoleId) -> String) -> Vec<String> {
        self.0.iter().map(|item| item.shown(&name)).collect()
    }

    /// Asserts A1 to A3.
    #[cfg(debug_assertions)]
    pub fn check_invariants(&self, owner: RoleId) {
        for (at, item) in self.0.iter().enumerate() {
            let twin = |i: &AclItem| i.grantee == item.grantee && i.grantor == item.grantor;
            assert!(!self.0[..at].iter().any(twin), "A1: two entries like {item:?}");
            assert!(!item.privileges.is_empty(), "A1: {item:?} grants nothing");
            assert!(item.privileges.has(item.grantable), "A2: {item:?}");
        }
        for one in (!Privileges::NONE).each() {
            let mut reached = vec![owner];
            let mut at = 0;
            while at < reached.len() {
                let from = reached[at];
                at += 1;
                for item in self.0.iter().filter(|i| i.grantor == from && i.grantable.has(one)) {
                    if !reached.contains(&item.grantee) {
                        reached.push(item.grantee);
                    }
                }
            }
            for item in self.0.iter().filter(|i| i.privileges.has(one)) {
                assert!(reached.contains(&item.grantor), "A3: {item:?} hangs in the air");
            }
        }
    }
}

impl AclItem {
    fn shown(&self, name: &impl Fn(RoleId) -> String) -> String {
        let mut out = match self.grantee {
            PUBLIC => String::new(),
            role => name(role),
        };
        out.push('=');
        for (letter, one) in self.privileges.letters() {
            out.push(letter);
            if self.grantable.has(one) {
                out.push('*');
            }
        }
        out.push('/');
        out.push_str(&name(self.grantor));
        out
    }
}
