//! Which types exist: PostgreSQL's object ids, names and aliases, and categories.
//!
//! Arrays and modifiers come with [`PgType`], which travels beside every Arrow array, because
//! Arrow's types are only storage (`crate::arrow_bridge`).

pub use crate::pgtype::PgType;

/// A type of PostgreSQL, without array-ness and modifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[repr(u8)]
pub enum TypeId {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`
    Numeric,
    /// `text`
    Text,
    /// `character varying`
    Varchar,
    /// `character`, blank-padded
    Bpchar,
    /// `name`: 63 bytes
    Name,
    /// `"char"`: one byte
    Char,
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `time without time zone`
    Time,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    Timestamptz,
    /// `interval`
    Interval,
    /// `uuid`
    Uuid,
    /// `json`
    Json,
    /// `jsonb`
    Jsonb,
    /// `jsonpath`, as its canonical text.
    Jsonpath,
    /// `oid`
    Oid,
    /// `regclass`
    Regclass,
    /// `regtype`
    Regtype,
    /// `regproc`
    Regproc,
    /// `regnamespace`
    Regnamespace,
    /// `regrole`
    Regrole,
    /// `regprocedure`
    Regprocedure,
    /// `regoper`
    Regoper,
    /// `regoperator`
    Regoperator,
    /// `regcollation`
    Regcollation,
    /// `regconfig`
    Regconfig,
    /// `regdictionary`
    Regdictionary,
    /// `xid`
    Xid,
    /// `xid8`: see [`crate::xid8`]
    Xid8,
    /// `int2vector`: only as an array of `smallint` with subscripts from 0, see [`PgType::element`].
    Int2vector,
    /// `oidvector`: likewise, of `oid`.
    Oidvector,
    /// `record`; what its fields are, if anybody knows, is the modifier: see [`crate::record`].
    Record,
    /// `void`
    Void,
    /// An enumeration; which one, [`PgType::enum_oid`] says.
    Enum,
    /// A literal or parameter whose type is not known yet.
    Unknown,
}

/// PostgreSQL's `typcategory`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Category {
    /// `A`
    Array,
    /// `B`
    Boolean,
    /// `D`
    DateTime,
    /// `E`
    Enum,
    /// `N`
    Numeric,
    /// `P`
    Pseudo,
    /// `S`
    String,
    /// `T`
    Timespan,
    /// `U`
    User,
    /// `X`
    Unknown,
    /// `Z`
    Internal,
}

impl Category {
    /// The letter of `pg_type.typcategory`.
    pub fn letter(self) -> char {
        match self {
            Self::Array => 'A',
            Self::Boolean => 'B',
            Self::DateTime => 'D',
            Self::Enum => 'E',
            Self::Numeric => 'N',
            Self::Pseudo => 'P',
            Self::String => 'S',
            Self::Timespan => 'T',
            Self::User => 'U',
            Self::Unknown => 'X',
            Self::Internal => 'Z',
        }
    }
}

/// One row of `pg_type` as far as it is compiled in.
struct TypeRow {
    id: TypeId,
    oid: u32,
    array_oid: u32,
    /// `pg_type.typname`.
    name: &'static str,
    /// What `format_type` prints without a modifier.
    sql_name: &'static str,
    len: i16,
    category: Category,
    preferred: bool,
}

macro_rules! rows {
    ($(
        $id:ident $oid:literal $arr:literal $name:literal $sql:literal $len:literal $cat:ident
        $pref:literal;
    )*) => {
        const ROWS: &[TypeRow] = &[$(TypeRow {
            id: TypeId::$id, oid: $oid, array_oid: $arr, name: $name, sql_name: $sql, len: $len,
            category: Category::$cat, preferred: $pref,
        }),*];
    };
}

rows! {
    Bool 16 1000 "bool" "boolean" 1 Boolean true;
    Int2 21 1005 "int2" "smallint" 2 Numeric false;
    Int4 23 1007 "int4" "integer" 4 Numeric false;
    Int8 20 1016 "int8" "bigint" 8 Numeric false;
    Float4 700 1021 "float4" "real" 4 Numeric false;
    Float8 701 1022 "float8" "double precision" 8 Numeric true;
    Numeric 1700 1231 "numeric" "numeric" -1 Numeric false;
    Text 25 1009 "text" "text" -1 String true;
    Varchar 1043 1015 "varchar" "character varying" -1 String false;
    Bpchar 1042 1014 "bpchar" "character" -1 String false;
    Name 19 1003 "name" "name" 64 String false;
    Char 18 1002 "char" "\"char\"" 1 Internal false;
    Bytea 17 1001 "bytea" "bytea" -1 User false;
    Date 1082 1182 "date" "date" 4 DateTime false;
    Time 1083 1183 "time" "time without time zone" 8 DateTime false;
    Timestamp 1114 1115 "timestamp" "timestamp without time zone" 8 DateTime false;
    Timestamptz 1184 1185 "timestamptz" "timestamp with time zone" 8 DateTime true;
    Interval 1186 1187 "interval" "interval" 16 Timespan true;
    Uuid 2950 2951 "uuid" "uuid" 16 User false;
    Json 114 199 "json" "json" -1 User false;
    Jsonb 3802 3807 "jsonb" "jsonb" -1 User false;
    Jsonpath 4072 4073 "jsonpath" "jsonpath" -1 User false;
    Oid 26 1028 "oid" "oid" 4 Numeric true;
    Regclass 2205 2210 "regclass" "regclass" 4 Numeric false;
    Regtype 2206 2211 "regtype" "regtype" 4 Numeric false;
    Regproc 24 1008 "regproc" "regproc" 4 Numeric false;
    Regnamespace 4089 4090 "regnamespace" "regnamespace" 4 Numeric false;
    Regrole 4096 4097 "regrole" "regrole" 4 Numeric false;
    Regprocedure 2202 2207 "regprocedure" "regprocedure" 4 Numeric false;
    Regoper 2203 2208 "regoper" "regoper" 4 Numeric false;
    Regoperator 2204 2209 "regoperator" "regoperator" 4 Numeric false;
    Regcollation 4191 4192 "regcollation" "regcollation" 4 Numeric false;
    Regconfig 3734 3735 "regconfig" "regconfig" 4 Numeric false;
    Regdictionary 3769 3770 "regdictionary" "regdictionary" 4 Numeric false;
    Xid 28 1011 "xid" "xid" 4 User false;
    Xid8 5069 271 "xid8" "xid8" 8 User false;
    Int2vector 22 0 "int2vector" "int2vector" -1 Array false;
    Oidvector 30 0 "oidvector" "oidvector" -1 Array false;
    Record 2249 2287 "record" "record" -1 Pseudo false;
    Void 2278 0 "void" "void" 4 Pseudo false;
    Enum 3500 0 "anyenum" "anyenum" 4 Enum false;
    Unknown 705 0 "unknown" "unknown" -2 Unknown false;
}

const _: () = {
    // `row` indexes by discriminant.
    let mut i = 0;
    while i < ROWS.len() {
        assert!(ROWS[i].id as usize == i);
        i += 1;
    }
};

impl TypeId {
    fn row(self) -> &'static TypeRow {
        &ROWS[self as usize]
    }

    /// Every type, in declaration order.
    pub fn all() -> impl Iterator<Item = TypeId> {
        ROWS.iter().map(|row| row.id)
    }

    /// The object id in `pg_type`.
    pub fn oid(self) -> u32 {
        self.row().oid
    }

    /// The object id of the type's array type; 0 if it has none.
    pub fn array_oid(self) -> u32 {
        self.row().array_oid
    }

    /// `pg_type.typname`: `int4`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The SQL spelling without modifier: `integer`. What error messages say.
    pub fn sql_name(self) -> &'static str {
        self.row().sql_name
    }

    /// `pg_type.typlen`: bytes, -1 for variable length.
    #[expect(clippy::len_without_is_empty, reason = "bytes of a value, not a count")]
    pub fn len(self) -> i16 {
        self.row().len
    }

    /// `pg_type.typcategory`.
    pub fn category(self) -> Category {
        self.row().category
    }

    /// `pg_type.typispreferred`.
    pub fn is_preferred(self) -> bool {
        self.row().preferred
    }

    /// Is the value UTF-8 text in storage?
    pub fn is_textual(self) -> bool {
        matches!(
            self,
            Self::Text
                | Self::Varchar
                | Self::Bpchar
                | Self::Name
                | Self::Char
                | Self::Json
                | Self::Jsonb
                | Self::Jsonpath
                | Self::Unknown
        )
    }

    /// `oid` and its named aliases, stored as 32 bits.
    pub fn is_oid_like(self) -> bool {
        matches!(
            self,
            Self::Oid
                | Self::Regclass
                | Self::Regtype
                | Self::Regproc
                | Self::Regnamespace
                | Self::Regrole
                | Self::Regprocedure
                | Self::Regoper
                | Self::Regoperator
                | Self::Regcollation
                | Self::Regconfig
                | Self::Regdictionary
                | Self::Xid
        )
    }

    /// `int2vector` or `oidvector`, whose values are arrays.
    pub const fn is_vector(self) -> bool {
        matches!(self, Self::Int2vector | Self::Oidvector)
    }

    /// The type of a non-array object id.
    pub fn from_oid(oid: u32) -> Option<Self> {
        ROWS.iter().find(|row| row.oid == oid).map(|row| row.id)
    }

    /// By `typname` or any SQL alias (`int`, `decimal`, `timestamp with time zone`), lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        if let Some(row) = ROWS.iter().find(|row| row.name == name && row.id != Self::Char) {
            return Some(row.id);
        }
        Some(match name {
            "boolean" => Self::Bool,
            "smallint" => Self::Int2,
            "int" | "integer" => Self::Int4,
            "bigint" => Self::Int8,
            "real" => Self::Float4,
            "double precision" | "float" => Self::Float8,
            "decimal" | "dec" => Self::Numeric,
            "character varying" | "char varying" => Self::Varchar,
            "character" | "char" | "nchar" => Self::Bpchar,
            "\"char\"" => Self::Char,
            "time without time zone" => Self::Time,
            "timestamp without time zone" => Self::Timestamp,
            "timestamp with time zone" => Self::Timestamptz,
            _ => return None,
        })
    }
}
