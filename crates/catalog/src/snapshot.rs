//! All descriptors at one catalog version, looked up by name or id.
//!
//! A snapshot never changes; a DDL statement makes the next one from it ([`CatalogSnapshot::with`]).
//! What every cluster has from birth (database and role `conclave`, the schemas `public`,
//! `pg_catalog` and `information_schema`) is compiled in, so an empty key space is a valid catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::acl::{Acl, AclItem, PUBLIC, RoleId};
use crate::role::{DATABASE_OWNER_ROLE_ID, DefaultAcl, Role};
use crate::{
    Closing, Constraint, Database, DatabaseId, EnumType, ForeignKey, ObjectKind, Privileges,
    Schema, SchemaId, Sequence, Table, TableId, View,
};

/// The database every cluster is born with.
pub const BOOTSTRAP_DATABASE: &str = "conclave";
/// The superuser every cluster is born with.
pub const BOOTSTRAP_ROLE: &str = "conclave";
/// Its oid, which is also PostgreSQL's for the role of initdb.
pub const BOOTSTRAP_ROLE_ID: u32 = 10;
/// Oid of the bootstrap database.
pub const BOOTSTRAP_DATABASE_ID: DatabaseId = 5;
/// Oid of `public` in the bootstrap database, as in PostgreSQL.
pub const PUBLIC_SCHEMA_ID: SchemaId = 2200;
/// Oid of `pg_catalog`, as in PostgreSQL.
pub const PG_CATALOG_ID: SchemaId = 11;
/// Oid of `information_schema`.
pub const INFORMATION_SCHEMA_ID: SchemaId = 13_000;
/// Oid of `conclave`, the schema of views on the cluster itself.
pub const CONCLAVE_SCHEMA_ID: SchemaId = 13_001;
/// Allocated ids are raised by this, so that they never meet PostgreSQL's built-in oids.
pub const FIRST_USER_ID: u32 = 16_384;

/// A change to the catalog.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new or changed database.
    PutDatabase(Database),
    /// A new or changed schema.
    PutSchema(Schema),
    /// A new or changed role.
    PutRole(Role),
    /// A new or changed table.
    PutTable(Box<Table>),
    /// A new or changed sequence.
    PutSequence(Box<Sequence>),
    /// A new or changed view.
    PutView(Box<View>),
    /// New or changed default privileges.
    PutDefaultAcl(DefaultAcl),
    /// A new or changed enumeration.
    PutType(Box<EnumType>),
    /// The database goes.
    DropDatabase(DatabaseId),
    /// The schema goes.
    DropSchema(SchemaId),
    /// The role goes.
    DropRole(u32),
    /// The table goes.
    DropTable(TableId),
    /// The sequence goes.
    DropSequence(u32),
    /// The view goes.
    DropView(u32),
    /// The default privileges go.
    DropDefaultAcl(u32),
    /// The enumeration goes.
    DropType(u32),
}

/// All descriptors at one version.
#[derive(Debug, Clone)]
pub struct CatalogSnapshot {
    version: u64,
    databases: BTreeMap<DatabaseId, Arc<Database>>,
    schemas: BTreeMap<SchemaId, Arc<Schema>>,
    roles: BTreeMap<u32, Arc<Role>>,
    tables: BTreeMap<TableId, Arc<Table>>,
    by_name: BTreeMap<(SchemaId, String), TableId>,
    sequences: Named<Sequence>,
    views: Named<View>,
    default_acls: BTreeMap<u32, Arc<DefaultAcl>>,
    types: Named<EnumType>,
    /// Tables whose rows refer to those of a table.
    referencing: BTreeMap<TableId, BTreeSet<TableId>>,
    /// Tables that are closed to writers.
    closed: BTreeSet<TableId>,
}

/// Descriptors by id, and ids by name.
#[derive(Debug, Clone)]
struct Named<T> {
    by_id: BTreeMap<u32, Arc<T>>,
    by_name: BTreeMap<(SchemaId, String), u32>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named { by_id: BTreeMap::new(), by_name: BTreeMap::new() }
    }
}

impl<T> Named<T> {
    fn put(&mut self, id: u32, name: (SchemaId, String), value: T) {
        self.remove(id);
        self.by_name.insert(name, id);
        self.by_id.insert(id, Arc::new(value));
    }

    fn remove(&mut self, id: u32) {
        if self.by_id.remove(&id).is_some() {
            self.by_name.retain(|_, known| *known != id);
        }
    }

    fn get(&self, schema: SchemaId, name: &str) -> Option<&Arc<T>> {
        self.by_id.get(self.by_name.get(&(schema, name.to_owned()))?)
    }

    fn of(&self, schema: SchemaId) -> impl Iterator<Item = &Arc<T>> {
        self.by_name
            .range((schema, String::new())..)
            .take_while(move |((s, _), _)| *s == schema)
            .map(|(_, id)| &self.by_id[id])
    }
}

/// What a schema that everybody may use grants.
fn open_schema(owner: RoleId) -> Acl {
    let item = |grantee, privileges| AclItem {
        grantee,
        grantor: owner,
        privileges,
        grantable: Privileges::NONE,
    };
    Acl::of(vec![item(owner, ObjectKind::Schema.all()), item(PUBLIC, Privileges::USAGE)])
}

/// The schema `public` of a new database: its owner's, for everybody to use.
#[must_use]
pub fn public_schema(id: SchemaId, database: DatabaseId) -> Schema {
    Schema {
        id,
        database,
        name: "public".to_owned(),
        owner: DATABASE_OWNER_ROLE_ID,
        acl: Some(open_schema(DATABASE_OWNER_ROLE_ID)),
        comment: None,
    }
}

impl CatalogSnapshot {
    /// The catalog of a cluster in which nothing was created yet: version 0.
    #[must_use]
    pub fn bootstrap() -> Self {
        let schema = |id, name: &str| Schema {
            id,
            database: 0,
            name: name.to_owned(),
            owner: BOOTSTRAP_ROLE_ID,
            acl: Some(open_schema(BOOTSTRAP_ROLE_ID)),
            comment: None,
        };
        let mut snapshot = CatalogSnapshot {
            version: 0,
            databases: BTreeMap::new(),
            schemas: BTreeMap::new(),
            roles: BTreeMap::new(),
            tables: BTreeMap::new(),
            by_name: BTreeMap::new(),
            sequences: Named::default(),
            views: Named::default(),
            default_acls: BTreeMap::new(),
            types: Named::default(),
            referencing: BTreeMap::new(),
            closed: BTreeSet::new(),
        };
        for role in Role::predefined() {
            snapshot.apply(Change::PutRole(role));
        }
        snapshot.apply(Change::PutDatabase(Database {
            id: BOOTSTRAP_DATABASE_ID,
            name: BOOTSTRAP_DATABASE.to_owned(),
            owner: BOOTSTRAP_ROLE_ID,
            acl: None,
        }));
        snapshot.apply(Change::PutSchema(public_schema(PUBLIC_SCHEMA_ID, BOOTSTRAP_DATABASE_ID)));
        for schema in [
            schema(PG_CATALOG_ID, "pg_catalog"),
            schema(INFORMATION_SCHEMA_ID, "information_schema"),
            schema(CONCLAVE_SCHEMA_ID, "conclave"),
        ] {
            snapshot.apply(Change::PutSchema(schema));
        }
        snapshot
    }

    /// Its version: a transaction may use it as long as it reads the same one.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The snapshot after some changes, at `version`.
    #[must_use]
    pub fn with(&self, version: u64, changes: impl IntoIterator<Item = Change>) -> Self {
        let mut next = self.clone();
        next.version = version;
        for change in changes {
            next.apply(change);
        }
        next
    }

    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::PutDatabase(database) => {
                self.databases.insert(database.id, Arc::new(database));
            }
            Change::PutSchema(schema) => {
                self.schemas.insert(schema.id, Arc::new(schema));
            }
            Change::PutRole(role) => {
                self.roles.insert(role.id, Arc::new(role));
            }
            Change::PutTable(table) => {
                self.forget_table(table.id);
                for (_, key) in table.foreign_keys() {
                    self.referencing.entry(key.table).or_default().insert(table.id);
                }
                if table.closed.is_some() {
                    self.closed.insert(table.id);
                }
                self.by_name.insert((table.schema, table.name.clone()), table.id);
                self.tables.insert(table.id, Arc::new(*table));
            }
            Change::PutSequence(sequence) => {
                let name = (sequence.schema, sequence.name.clone());
                self.sequences.put(sequence.id, name, *sequence);
            }
            Change::PutView(view) => {
                self.views.put(view.id, (view.schema, view.name.clone()), *view);
            }
            Change::PutDefaultAcl(default) => {
                self.default_acls.insert(default.id, Arc::new(default));
            }
            Change::DropDefaultAcl(id) => {
                self.default_acls.remove(&id);
            }
            Change::DropDatabase(id) => {
                self.databases.remove(&id);
            }
            Change::DropSchema(id) => {
                self.schemas.remove(&id);
            }
            Change::DropRole(id) => {
                self.roles.remove(&id);
            }
            Change::DropTable(id) => self.forget_table(id),
            Change::DropSequence(id) => self.sequences.remove(id),
            Change::DropView(id) => self.views.remove(id),
            Change::PutType(ty) => {
                let labels = ty.labels.iter().map(|l| (l.value, l.label.as_str().into()));
                pgtypes::enums::note(ty.id, &ty.name, labels);
                self.types.put(ty.id, (ty.schema, ty.name.clone()), *ty);
            }
            Change::DropType(id) => self.types.remove(id),
        }
    }

    fn forget_table(&mut self, id: TableId) {
        let Some(old) = self.tables.remove(&id) else { return };
        self.by_name.remove(&(old.schema, old.name.clone()));
        self.closed.remove(&id);
        for (_, key) in old.foreign_keys() {
            if let Some(tables) = self.referencing.get_mut(&key.table) {
                tables.remove(&id);
            }
        }
    }

    /// SERIAL columns once had no descriptor for their sequence: here it is.
    pub(crate) fn adopt_serials(&mut self) {
        let mut missing = Vec::new();
        for table in self.tables.values() {
            for column in &table.columns {
                let Some(id) = column.sequence.filter(|id| !self.sequences.by_id.contains_key(id))
                else {
                    continue;
                };
                let name = format!("{}_{}_seq", table.name, column.name);
                let owner = table.owner;
                let mut sequence = Sequence::new(id, table.schema, name, owner, column.ty);
                sequence.owned_by = Some((table.id, column.id));
                missing.push(sequence);
            }
        }
        for sequence in missing {
            self.apply(Change::PutSequence(Box::new(sequence)));
        }
    }

    /// The database of that name.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases.values().find(|d| d.name == name)
    }

    /// All databases, by id.
    pub fn databases(&self) -> impl Iterator<Item = &Arc<Database>> {
        self.databases.values()
    }

    /// The database of that id.
    #[must_use]
    pub fn database_by_id(&self, id: DatabaseId) -> Option<&Arc<Database>> {
        self.databases.get(&id)
    }

    /// The role of that id.
    #[must_use]
    pub fn role_by_id(&self, id: RoleId) -> Option<&Arc<Role>> {
        self.roles.get(&id)
    }

    /// The name of a role; of one that is gone, its number.
    #[must_use]
    pub fn role_name(&self, id: RoleId) -> String {
        self.role_by_id(id).map_or_else(|| id.to_string(), |role| role.name.clone())
    }

    /// Default privileges, by id.
    pub fn default_acls(&self) -> impl Iterator<Item = &Arc<DefaultAcl>> {
        self.default_acls.values()
    }

    /// All schemas of all databases, by id.
    pub fn schemas(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.schemas.values()
    }

    /// The role of that name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.values().find(|r| r.name == name)
    }

    /// All roles, by id.
    pub fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.roles.values()
    }

    /// The schema of that name, as seen from a database.
    #[must_use]
    pub fn schema(&self, database: DatabaseId, name: &str) -> Option<&Arc<Schema>> {
        self.schemas_of(database).find(|s| s.name == name)
    }

    /// The schema of that id.
    #[must_use]
    pub fn schema_by_id(&self, id: SchemaId) -> Option<&Arc<Schema>> {
        self.schemas.get(&id)
    }

    /// The schemas seen from a database: its own and the system's.
    pub fn schemas_of(&self, database: DatabaseId) -> impl Iterator<Item = &Arc<Schema>> {
        self.schemas.values().filter(move |s| s.database == database || s.database == 0)
    }

    /// The table of that name.
    #[must_use]
    pub fn table(&self, schema: SchemaId, name: &str) -> Option<&Arc<Table>> {
        let id = self.by_name.get(&(schema, name.to_owned()))?;
        self.tables.get(id)
    }

    /// The table of that id.
    #[must_use]
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.get(&id)
    }

    /// The tables of a schema, by name.
    pub fn tables_of(&self, schema: SchemaId) -> impl Iterator<Item = &Arc<Table>> {
        self.by_name
            .range((schema, String::new())..)
            .take_while(move |((s, _), _)| *s == schema)
            .map(|(_, id)| &self.tables[id])
    }

    /// All tables, by id.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }

    /// Tables that take no new writers, and why.
    pub fn closed_tables(&self) -> impl Iterator<Item = (&Arc<Table>, Closing)> {
        let tables = self.closed.iter().filter_map(|id| self.tables.get(id));
        tables.filter_map(|table| Some((table, table.closed?)))
    }

    /// The table and index of that name in a schema; the primary one included.
    #[must_use]
    pub fn index(&self, schema: SchemaId, name: &str) -> Option<(&Arc<Table>, &crate::Index)> {
        self.tables_of(schema).find_map(|table| {
            std::iter::once(&table.primary)
                .filter(|_| !table.has_hidden_row_id())
                .chain(&table.indexes)
                .find(|i| i.name == name)
                .map(|i| (table, i))
        })
    }

    /// Whether a relation of that name is in the schema: a table, index, sequence or view.
    #[must_use]
    pub fn relation_exists(&self, schema: SchemaId, name: &str) -> bool {
        self.table(schema, name).is_some()
            || self.sequence(schema, name).is_some()
            || self.view(schema, name).is_some()
            || self.index(schema, name).is_some()
    }

    /// The sequence of that name.
    #[must_use]
    pub fn sequence(&self, schema: SchemaId, name: &str) -> Option<&Arc<Sequence>> {
        self.sequences.get(schema, name)
    }

    /// The sequence of that id.
    #[must_use]
    pub fn sequence_by_id(&self, id: u32) -> Option<&Arc<Sequence>> {
        self.sequences.by_id.get(&id)
    }

    /// The sequences of a schema, by name.
    pub fn sequences_of(&self, schema: SchemaId) -> impl Iterator<Item = &Arc<Sequence>> {
        self.sequences.of(schema)
    }

    /// All sequences, by id.
    pub fn sequences(&self) -> impl Iterator<Item = &Arc<Sequence>> {
        self.sequences.by_id.values()
    }

    /// The view of that name.
    #[must_use]
    pub fn view(&self, schema: SchemaId, name: &str) -> Option<&Arc<View>> {
        self.views.get(schema, name)
    }

    /// The view of that id.
    #[must_use]
    pub fn view_by_id(&self, id: u32) -> Option<&Arc<View>> {
        self.views.by_id.get(&id)
    }

    /// The views of a schema, by name.
    pub fn views_of(&self, schema: SchemaId) -> impl Iterator<Item = &Arc<View>> {
        self.views.of(schema)
    }

    /// All views, by id.
    pub fn views(&self) -> impl Iterator<Item = &Arc<View>> {
        self.views.by_id.values()
    }

    /// The enumeration of that name.
    #[must_use]
    pub fn enum_type(&self, schema: SchemaId, name: &str) -> Option<&Arc<EnumType>> {
        self.types.get(schema, name)
    }

    /// The enumeration of that oid.
    #[must_use]
    pub fn enum_by_id(&self, id: u32) -> Option<&Arc<EnumType>> {
        self.types.by_id.get(&id)
    }

    /// The enumerations of a schema, by name.
    pub fn enums_of(&self, schema: SchemaId) -> impl Iterator<Item = &Arc<EnumType>> {
        self.types.of(schema)
    }

    /// The references to rows of a table, with the tables that make them.
    pub fn references_to(
        &self,
        table: TableId,
    ) -> impl Iterator<Item = (&Arc<Table>, &Constraint, &ForeignKey)> {
        let tables = self.referencing.get(&table).into_iter().flatten();
        tables.filter_map(|id| self.tables.get(id)).flat_map(move |from| {
            let keys = from.foreign_keys().filter(move |(_, key)| key.table == table);
            keys.map(move |(constraint, key)| (from, constraint, key))
        })
    }
}
