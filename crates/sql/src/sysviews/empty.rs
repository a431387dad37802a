//! What PostgreSQL has and nobody here has: the tables are there, for clients to join, and empty.

use std::sync::Arc;

use super::{Source, SystemView, view};

/// Name and columns.
const TABLES: &[(&str, &str)] = &[
    (
        "pg_aggregate",
        "aggfnoid:regproc aggkind:c aggnumdirectargs:2 aggtransfn:regproc aggfinalfn:regproc \
         aggcombinefn:regproc aggserialfn:regproc aggdeserialfn:regproc aggmtransfn:regproc \
         aggminvtransfn:regproc aggmfinalfn:regproc aggfinalextra:b aggmfinalextra:b \
         aggfinalmodify:c aggmfinalmodify:c aggsortop:o aggtranstype:o aggtransspace:4 \
         aggmtranstype:o aggmtransspace:4 agginitval aggminitval",
    ),
    (
        "pg_amop",
        "oid:o amopfamily:o amoplefttype:o amoprighttype:o amopstrategy:2 amoppurpose:c amopopr:o \
         amopmethod:o amopsortfamily:o",
    ),
    (
        "pg_amproc",
        "oid:o amprocfamily:o amproclefttype:o amprocrighttype:o amprocnum:2 amproc:regproc",
    ),
    (
        "pg_available_extension_versions",
        "name:n version installed:b superuser:b trusted:b relocatable:b schema:n requires:N \
         comment",
    ),
    ("pg_available_extensions", "name:n default_version installed_version comment"),
    (
        "pg_conversion",
        "oid:o conname:n connamespace:o conowner:o conforencoding:4 contoencoding:4 \
         conproc:regproc condefault:b",
    ),
    ("pg_db_role_setting", "setdatabase:o setrole:o setconfig:T"),
    ("pg_event_trigger", "oid:o evtname:n evtevent:n evtowner:o evtfoid:o evtenabled:c evttags:T"),
    (
        "pg_foreign_data_wrapper",
        "oid:o fdwname:n fdwowner:o fdwhandler:o fdwvalidator:o fdwacl:T fdwoptions:T",
    ),
    (
        "pg_foreign_server",
        "oid:o srvname:n srvowner:o srvfdw:o srvtype srvversion srvacl:T srvoptions:T",
    ),
    ("pg_foreign_table", "ftrelid:o ftserver:o ftoptions:T"),
    ("pg_inherits", "inhrelid:o inhparent:o inhseqno:4 inhdetachpending:b"),
    ("pg_largeobject", "loid:o pageno:4 data:y"),
    ("pg_largeobject_metadata", "oid:o lomowner:o lomacl:T"),
    (
        "pg_matviews",
        "schemaname:n matviewname:n matviewowner:n tablespace:n hasindexes:b ispopulated:b \
         definition",
    ),
    ("pg_opfamily", "oid:o opfmethod:o opfname:n opfnamespace:o opfowner:o"),
    ("pg_parameter_acl", "oid:o parname paracl:T"),
    (
        "pg_partitioned_table",
        "partrelid:o partstrat:c partnatts:2 partdefid:o partattrs:v partclass:V partcollation:V \
         partexprs",
    ),
    ("pg_policies", "schemaname:n tablename:n policyname:n permissive roles:N cmd qual with_check"),
    (
        "pg_policy",
        "oid:o polname:n polrelid:o polcmd:c polpermissive:b polroles:O polqual polwithcheck",
    ),
    ("pg_prepared_xacts", "transaction:x gid prepared:z owner:n database:n"),
    (
        "pg_publication",
        "oid:o pubname:n pubowner:o puballtables:b pubinsert:b pubupdate:b pubdelete:b \
         pubtruncate:b pubviaroot:b",
    ),
    ("pg_publication_namespace", "oid:o pnpubid:o pnnspid:o"),
    ("pg_publication_rel", "oid:o prpubid:o prrelid:o prqual prattrs:v"),
    ("pg_publication_tables", "pubname:n schemaname:n tablename:n attnames:N rowfilter"),
    (
        "pg_range",
        "rngtypid:o rngsubtype:o rngmultitypid:o rngcollation:o rngsubopc:o rngcanonical:regproc \
         rngsubdiff:regproc",
    ),
    ("pg_replication_origin", "roident:o roname"),
    (
        "pg_replication_slots",
        "slot_name:n plugin:n slot_type datoid:o database:n temporary:b active:b active_pid:4 \
         xmin:x catalog_xmin:x restart_lsn confirmed_flush_lsn wal_status safe_wal_size:8 \
         two_phase:b",
    ),
    ("pg_rules", "schemaname:n tablename:n rulename:n definition"),
    ("pg_seclabel", "objoid:o classoid:o objsubid:4 provider label"),
    (
        "pg_seclabels",
        "objoid:o classoid:o objsubid:4 objtype objnamespace:o objname provider label",
    ),
    ("pg_shdepend", "dbid:o classid:o objid:o objsubid:4 refclassid:o refobjid:o deptype:c"),
    ("pg_shdescription", "objoid:o classoid:o description"),
    ("pg_shseclabel", "objoid:o classoid:o provider label"),
    (
        "pg_stat_replication",
        "pid:4 usesysid:o usename:n application_name client_addr client_hostname client_port:4 \
         backend_start:z backend_xmin:x state sent_lsn write_lsn flush_lsn replay_lsn write_lag:i \
         flush_lag:i replay_lag:i sync_priority:4 sync_state reply_time:z",
    ),
    (
        "pg_stat_subscription",
        "subid:o subname:n pid:4 relid:o received_lsn last_msg_send_time:z \
         last_msg_receipt_time:z latest_end_lsn latest_end_time:z",
    ),
    (
        "pg_stat_wal_receiver",
        "pid:4 status receive_start_lsn receive_start_tli:4 written_lsn flushed_lsn \
         received_tli:4 last_msg_send_time:z last_msg_receipt_time:z latest_end_lsn \
         latest_end_time:z slot_name sender_host sender_port:4 conninfo",
    ),
    (
        "pg_statistic_ext",
        "oid:o stxrelid:o stxname:n stxnamespace:o stxowner:o stxstattarget:4 stxkeys:v stxkind:T \
         stxexprs",
    ),
    (
        "pg_statistic_ext_data",
        "stxoid:o stxdinherit:b stxdndistinct stxddependencies stxdmcv stxdexpr:T",
    ),
    (
        "pg_stats_ext",
        "schemaname:n tablename:n statistics_schemaname:n statistics_name:n statistics_owner:n \
         attnames:N exprs:T kinds:T inherited:b n_distinct dependencies most_common_vals:T \
         most_common_val_nulls most_common_freqs most_common_base_freqs",
    ),
    (
        "pg_subscription",
        "oid:o subdbid:o subskiplsn subname:n subowner:o subenabled:b subbinary:b substream:b \
         subtwophasestate:c subdisableonerr:b subconninfo subslotname:n subsynccommit \
         subpublications:T",
    ),
    ("pg_subscription_rel", "srsubid:o srrelid:o srsubstate:c srsublsn"),
    ("pg_transform", "oid:o trftype:o trflang:o trffromsql:regproc trftosql:regproc"),
    (
        "pg_trigger",
        "oid:o tgrelid:o tgparentid:o tgname:n tgfoid:o tgtype:2 tgenabled:c tgisinternal:b \
         tgconstrrelid:o tgconstrindid:o tgconstraint:o tgdeferrable:b tginitdeferred:b tgnargs:2 \
         tgattr:v tgargs:y tgqual tgoldtable:n tgnewtable:n",
    ),
    ("pg_ts_config", "oid:o cfgname:n cfgnamespace:o cfgowner:o cfgparser:o"),
    ("pg_ts_config_map", "mapcfg:o maptokentype:4 mapseqno:4 mapdict:o"),
    ("pg_ts_dict", "oid:o dictname:n dictnamespace:o dictowner:o dicttemplate:o dictinitoption"),
    (
        "pg_ts_parser",
        "oid:o prsname:n prsnamespace:o prsstart:regproc prstoken:regproc prsend:regproc \
         prsheadline:regproc prslextype:regproc",
    ),
    ("pg_ts_template", "oid:o tmplname:n tmplnamespace:o tmplinit:regproc tmpllexize:regproc"),
    ("pg_user_mapping", "oid:o umuser:o umserver:o umoptions:T"),
    ("pg_user_mappings", "umid:o srvid:o srvname:n umuser:o usename:n umoptions:T"),
];

/// Likewise, of information_schema.
const INFORMATION: &[(&str, &str)] = &[
    (
        "column_domain_usage",
        "domain_catalog domain_schema domain_name table_catalog table_schema table_name \
         column_name",
    ),
    (
        "domain_constraints",
        "constraint_catalog constraint_schema constraint_name domain_catalog domain_schema \
         domain_name is_deferrable initially_deferred",
    ),
    (
        "domain_udt_usage",
        "udt_catalog udt_schema udt_name domain_catalog domain_schema domain_name",
    ),
    (
        "domains",
        "domain_catalog domain_schema domain_name data_type character_maximum_length:4 \
         character_octet_length:4 character_set_catalog character_set_schema character_set_name \
         collation_catalog collation_schema collation_name numeric_precision:4 \
         numeric_precision_radix:4 numeric_scale:4 datetime_precision:4 interval_type \
         interval_precision:4 domain_default udt_catalog udt_schema udt_name scope_catalog \
         scope_schema scope_name maximum_cardinality:4 dtd_identifier",
    ),
    (
        "foreign_servers",
        "foreign_server_catalog foreign_server_name foreign_data_wrapper_catalog \
         foreign_data_wrapper_name foreign_server_type foreign_server_version \
         authorization_identifier",
    ),
    (
        "foreign_tables",
        "foreign_table_catalog foreign_table_schema foreign_table_name foreign_server_catalog \
         foreign_server_name",
    ),
    (
        "parameters",
        "specific_catalog specific_schema specific_name ordinal_position:4 parameter_mode \
         is_result as_locator parameter_name data_type character_maximum_length:4 \
         character_octet_length:4 character_set_catalog character_set_schema character_set_name \
         collation_catalog collation_schema collation_name numeric_precision:4 \
         numeric_precision_radix:4 numeric_scale:4 datetime_precision:4 interval_type \
         interval_precision:4 udt_catalog udt_schema udt_name scope_catalog scope_schema \
         scope_name maximum_cardinality:4 dtd_identifier parameter_default",
    ),
    (
        "routines",
        "specific_catalog specific_schema specific_name routine_catalog routine_schema \
         routine_name routine_type module_catalog module_schema module_name udt_catalog \
         udt_schema udt_name data_type character_maximum_length:4 character_octet_length:4 \
         character_set_catalog character_set_schema character_set_name collation_catalog \
         collation_schema collation_name numeric_precision:4 numeric_precision_radix:4 \
         numeric_scale:4 datetime_precision:4 interval_type interval_precision:4 type_udt_catalog \
         type_udt_schema type_udt_name scope_catalog scope_schema scope_name \
         maximum_cardinality:4 dtd_identifier routine_body routine_definition external_name \
         external_language parameter_style is_deterministic sql_data_access is_null_call sql_path \
         schema_level_routine max_dynamic_result_sets:4 is_user_defined_cast \
         is_implicitly_invocable security_type to_sql_specific_catalog to_sql_specific_schema \
         to_sql_specific_name as_locator created:z last_altered:z new_savepoint_level \
         is_udt_dependent result_cast_from_data_type result_cast_as_locator \
         result_cast_char_max_length:4 result_cast_char_octet_length:4 \
         result_cast_char_set_catalog result_cast_char_set_schema result_cast_char_set_name \
         result_cast_collation_catalog result_cast_collation_schema result_cast_collation_name \
         result_cast_numeric_precision:4 result_cast_numeric_precision_radix:4 \
         result_cast_numeric_scale:4 result_cast_datetime_precision:4 result_cast_interval_type \
         result_cast_interval_precision:4 result_cast_type_udt_catalog \
         result_cast_type_udt_schema result_cast_type_udt_name result_cast_scope_catalog \
         result_cast_scope_schema result_cast_scope_name result_cast_maximum_cardinality:4 \
         result_cast_dtd_identifier",
    ),
    (
        "triggered_update_columns",
        "trigger_catalog trigger_schema trigger_name event_object_catalog event_object_schema \
         event_object_table event_object_column",
    ),
    (
        "triggers",
        "trigger_catalog trigger_schema trigger_name event_manipulation event_object_catalog \
         event_object_schema event_object_table action_order:4 action_condition action_statement \
         action_orientation action_timing action_reference_old_table action_reference_new_table \
         action_reference_old_row action_reference_new_row created:z",
    ),
    (
        "user_defined_types",
        "user_defined_type_catalog user_defined_type_schema user_defined_type_name \
         user_defined_type_category is_instantiable is_final ordering_form ordering_category \
         ordering_routine_catalog ordering_routine_schema ordering_routine_name reference_type \
         data_type character_maximum_length:4 character_octet_length:4 character_set_catalog \
         character_set_schema character_set_name collation_catalog collation_schema \
         collation_name numeric_precision:4 numeric_precision_radix:4 numeric_scale:4 \
         datetime_precision:4 interval_type interval_precision:4 source_dtd_identifier \
         ref_dtd_identifier",
    ),
    (
        "view_routine_usage",
        "table_catalog table_schema table_name specific_catalog specific_schema specific_name",
    ),
];

pub(super) fn views() -> Vec<Arc<SystemView>> {
    let all = [("pg_catalog", TABLES), ("information_schema", INFORMATION)];
    let of = |(schema, tables): (&'static str, &'static [(&'static str, &'static str)])| {
        tables.iter().map(move |(name, columns)| view(schema, name, columns, Source::Empty))
    };
    all.into_iter().flat_map(of).collect()
}
