//! A column's type in a stored descriptor: the type's oid (an array's own) and its modifier.

use pgtypes::{PgType, TypeId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn serialize<S: Serializer>(ty: &PgType, serializer: S) -> Result<S::Ok, S::Error> {
    (ty.id.oid(), ty.array, ty.typmod).serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PgType, D::Error> {
    let (oid, array, typmod) = <(u32, bool, i32)>::deserialize(deserializer)?;
    let id = TypeId::from_oid(oid)
        .ok_or_else(|| serde::de::Error::custom(format!("no type has the oid {oid}")))?;
    Ok(PgType { id, array, typmod })
}
