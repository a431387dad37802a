//! Access control lists: whatever is granted and revoked, nothing hangs in the air.

use catalog::acl::{AclError, PUBLIC};
use catalog::{Acl, ObjectKind, Privileges, RoleId};
use proptest::prelude::*;

const OWNER: RoleId = 1;
const ROLES: std::ops::Range<RoleId> = 1..6;

#[derive(Debug, Clone)]
struct Step {
    grant: bool,
    grantor: RoleId,
    grantee: RoleId,
    privileges: Privileges,
    option: bool,
    cascade: bool,
}

fn privileges() -> impl Strategy<Value = Privileges> {
    let some = [Privileges::SELECT, Privileges::INSERT, Privileges::UPDATE];
    proptest::sample::subsequence(some.to_vec(), 1..=3)
        .prop_map(|some| some.into_iter().fold(Privileges::NONE, |all, one| all | one))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (any::<bool>(), ROLES, 0..6u32, privileges(), any::<bool>(), any::<bool>());
    let step = step.prop_map(|(grant, grantor, grantee, privileges, option, cascade)| Step {
        grant,
        grantor,
        grantee,
        privileges,
        option,
        cascade,
    });
    proptest::collection::vec(step, 1..40)
}

/// Carries out a step as GRANT and REVOKE do: of what the grantor may grant.
fn play(acl: &mut Acl, step: &Step) -> Result<(), AclError> {
    let may = match step.grantor {
        OWNER => step.privileges,
        grantor => {
            let own = acl.items().iter().filter(|item| item.grantee == grantor);
            own.fold(Privileges::NONE, |all, item| all | item.grantable) & step.privileges
        }
    };
    let mut next = acl.clone();
    match step.grant {
        true => {
            let option = step.option && step.grantee != PUBLIC;
            next.grant(step.grantor, step.grantee, may, option, OWNER)?;
        }
        false => {
            let (option, cascade) = (step.option, step.cascade);
            next.revoke(step.grantor, step.grantee, may, option, cascade, OWNER)?;
        }
    }
    *acl = next;
    Ok(())
}

proptest! {
    #[test]
    fn every_right_leads_back_to_the_owner(steps in steps()) {
        let mut acl = Acl::default_of(ObjectKind::Table, OWNER);
        for step in &steps {
            let before = acl.clone();
            if play(&mut acl, step).is_err() {
                assert_eq!(acl, before, "what is refused changes nothing");
            }
            acl.check_invariants(OWNER);
        }
        for role in ROLES.skip(1) {
            let without = acl.without(role, OWNER);
            without.check_invariants(OWNER);
            assert!(!without.mentions(role), "{role} is still in {without:?}");
        }
        let moved = acl.of_new_owner(OWNER, 3);
        assert!(!moved.mentions(OWNER), "{moved:?}");
    }
}

#[test]
fn entries_read_as_postgresql_shows_them() {
    let mut acl = Acl::default_of(ObjectKind::Table, OWNER);
    let select = Privileges::SELECT;
    acl.grant(OWNER, 2, select | Privileges::INSERT, false, OWNER).expect("granted");
    acl.grant(OWNER, 2, select, true, OWNER).expect("granted");
    acl.grant(2, PUBLIC, select, false, OWNER).expect("granted");
    let name = |role: RoleId| format!("r{role}");
    assert_eq!(acl.shown(name), ["r1=arwdDxt/r1", "r2=ar*/r1", "=r/r2"]);
    let database = Acl::default_of(ObjectKind::Database, OWNER);
    assert_eq!(database.shown(name), ["=Tc/r1", "r1=CTc/r1"]);
}

#[test]
fn rights_do_not_go_round_in_circles() {
    let mut acl = Acl::default_of(ObjectKind::Table, OWNER);
    let select = Privileges::SELECT;
    acl.grant(OWNER, 2, select, true, OWNER).expect("granted");
    acl.grant(2, 3, select, true, OWNER).expect("granted");
    assert_eq!(acl.grant(3, 2, select, true, OWNER), Err(AclError::Circular));
    acl.grant(3, 2, select, false, OWNER).expect("the right alone makes no circle");
    assert_eq!(acl.revoke(OWNER, 2, select, true, false, OWNER), Err(AclError::Dependent));
}

#[test]
fn two_that_have_a_right_only_from_each_other_have_lost_it() {
    let select = Privileges::SELECT;
    let mut acl = Acl::default_of(ObjectKind::Table, OWNER);
    for (grantor, grantee) in [(OWNER, 5), (5, 2), (5, 3), (2, 3), (3, 2)] {
        acl.grant(grantor, grantee, select, true, OWNER).expect("granted");
    }
    acl.revoke(5, 2, select, false, true, OWNER).expect("a cascade has no obstacle");
    assert_eq!(acl.grantable(|role| role == 2), select, "2 has it from 3, that from 5");
    let mut restricted = acl.clone();
    assert_eq!(restricted.revoke(5, 3, select, false, false, OWNER), Err(AclError::Dependent));
    acl.revoke(5, 3, select, false, true, OWNER).expect("a cascade has no obstacle");
    acl.check_invariants(OWNER);
    assert!(!acl.mentions(2) && !acl.mentions(3), "{acl:?}");
}
