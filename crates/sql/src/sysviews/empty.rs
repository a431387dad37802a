//! What PostgreSQL has and nobody here has: the tables are there, for clients to join, and empty.

use std::sync::Arc;

use super::{Source, SystemView, view};

/// Name and columns.
const TABLES: &[(&str, &str)] = &[
    ("pg_inherits", "inhrelid:o inhparent:o inhseqno:4 inhdetachpending:b"),
    (
        "pg_partitioned_table",
        "partrelid:o partstrat:c partnatts:2 partdefid:o partattrs:S partclass:O partcollation:O \
         partexprs:t",
    ),
    (
        "pg_proc",
        "oid:o proname:n pronamespace:o proowner:o prolang:o procost:f prorows:f provariadic:o \
         prosupport:o prokind:c prosecdef:b proleakproof:b proisstrict:b proretset:b provolatile:c \
         proparallel:c pronargs:2 pronargdefaults:2 prorettype:o proargtypes:O proallargtypes:O \
         proargmodes:T proargnames:T proargdefaults:t protrftypes:O prosrc:t probin:t prosqlbody:t \
         proconfig:T proacl:T",
    ),
    (
        "pg_trigger",
        "oid:o tgrelid:o tgparentid:o tgname:n tgfoid:o tgtype:2 tgenabled:c tgisinternal:b \
         tgconstrrelid:o tgconstrindid:o tgconstraint:o tgdeferrable:b tginitdeferred:b tgnargs:2 \
         tgattr:S tgargs:t tgqual:t tgoldtable:n tgnewtable:n",
    ),
    (
        "pg_rewrite",
        "oid:o rulename:n ev_class:o ev_type:c ev_enabled:c is_instead:b ev_qual:t ev_action:t",
    ),
    (
        "pg_policy",
        "oid:o polname:n polrelid:o polcmd:c polpermissive:b polroles:O polqual:t polwithcheck:t",
    ),
    (
        "pg_publication",
        "oid:o pubname:n pubowner:o puballtables:b pubinsert:b pubupdate:b pubdelete:b \
         pubtruncate:b pubviaroot:b",
    ),
    ("pg_publication_rel", "oid:o prpubid:o prrelid:o prqual:t prattrs:S"),
    ("pg_publication_namespace", "oid:o pnpubid:o pnnspid:o"),
    (
        "pg_statistic_ext",
        "oid:o stxrelid:o stxname:n stxnamespace:o stxowner:o stxstattarget:4 stxkeys:S stxkind:T \
         stxexprs:t",
    ),
    ("pg_foreign_table", "ftrelid:o ftserver:o ftoptions:T"),
    (
        "pg_foreign_server",
        "oid:o srvname:n srvowner:o srvfdw:o srvtype:t srvversion:t srvoptions:T",
    ),
    (
        "pg_range",
        "rngtypid:o rngsubtype:o rngmultitypid:o rngcollation:o rngsubopc:o rngcanonical:o \
         rngsubdiff:o",
    ),
    ("pg_extension", "oid:o extname:n extowner:o extnamespace:o extrelocatable:b extversion:t"),
    ("pg_shdescription", "objoid:o classoid:o description:t"),
    ("pg_auth_members", "roleid:o member:o grantor:o admin_option:b"),
    ("pg_matviews", "schemaname:n matviewname:n matviewowner:n tablespace:n definition:t"),
    ("pg_opclass", "oid:o opcmethod:o opcname:n opcnamespace:o opcintype:o opcdefault:b"),
    ("pg_operator", "oid:o oprname:n oprnamespace:o oprleft:o oprright:o oprresult:o oprcode:o"),
    ("pg_cast", "oid:o castsource:o casttarget:o castfunc:o castcontext:c castmethod:c"),
    ("pg_event_trigger", "oid:o evtname:n evtevent:n evtowner:o evtfoid:o evtenabled:c evttags:T"),
    ("pg_stat_user_tables", "relid:o schemaname:n relname:n seq_scan:8 n_live_tup:8 n_dead_tup:8"),
    ("pg_prepared_xacts", "gid:t prepared:z owner:n database:n"),
];

pub(super) fn views() -> Vec<Arc<SystemView>> {
    TABLES.iter().map(|(name, columns)| view("pg_catalog", name, columns, Source::Empty)).collect()
}
