//! The tables of a round: few columns, few rows, many NULLs, keys and checks of all sorts.

use rand::Rng;
use rand::rngs::StdRng;

use super::types::Ty;

/// A table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    /// `id` first, which is unique and not NULL.
    pub(super) columns: Vec<(String, Ty)>,
    /// A second unique column, if there is one.
    pub(super) unique: Option<usize>,
    /// Columns that can't be written.
    pub(super) generated: Vec<usize>,
}

/// Tables, and the statements that make them.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    pub(super) tables: Vec<Table>,
    pub(super) setup: Vec<String>,
}

impl Schema {
    /// Any.
    pub(super) fn any(rng: &mut StdRng) -> Schema {
        // A name has one type everywhere, so that USING and NATURAL find something.
        let letters: Vec<(String, Ty)> =
            "abcdefg".chars().map(|c| (c.to_string(), Ty::any(rng))).collect();
        let mut schema = Schema { tables: Vec::new(), setup: Vec::new() };
        for n in 0..rng.random_range(2..5) {
            schema.add(format!("t{n}"), &letters, rng);
        }
        schema
    }

    fn add(&mut self, name: String, letters: &[(String, Ty)], rng: &mut StdRng) {
        let mut columns = vec![("id".to_owned(), Ty::Int4)];
        let mut written = vec!["id integer PRIMARY KEY".to_owned()];
        let (mut unique, mut generated) = (None, Vec::new());
        for (letter, ty) in letters {
            if rng.random_bool(0.4) && columns.len() > 1 {
                continue;
            }
            let mut column = format!("{letter} {}", ty.name());
            let plain = !matches!(ty, Ty::Jsonb | Ty::Int4Array | Ty::TextArray);
            match rng.random_range(0..14) {
                0 => column += &format!(" NOT NULL DEFAULT '{}'", ty.value(rng)),
                1 => column += &format!(" DEFAULT '{}'", ty.value(rng)),
                2 if plain && unique.is_none() => {
                    column += " UNIQUE";
                    unique = Some(columns.len());
                }
                3 if ty.is_number() => column += &format!(" CHECK ({letter} > -3)"),
                4 if *ty == Ty::Int4 && rng.random() => {
                    column += " GENERATED ALWAYS AS (id % 3) STORED";
                    generated.push(columns.len());
                }
                _ => {}
            }
            written.push(column);
            columns.push((letter.clone(), *ty));
        }
        self.setup.push(format!("CREATE TABLE {name} ({})", written.join(", ")));
        for (column, ty) in columns.iter().skip(1) {
            let plain = !matches!(ty, Ty::Jsonb | Ty::Int4Array | Ty::TextArray);
            if plain && rng.random_bool(0.2) {
                let order =
                    ["", " DESC", " NULLS FIRST", " DESC NULLS LAST"][rng.random_range(0..4)];
                self.setup.push(format!("CREATE INDEX ON {name} ({column}{order})"));
            }
        }
        let table = Table { name, columns, unique, generated };
        for id in 0..rng.random_range(0..9) {
            self.setup.push(table.row(id, rng));
        }
        self.tables.push(table);
    }
}

impl Table {
    /// Columns that can be written but for `id`.
    pub(super) fn writable(&self) -> Vec<usize> {
        (1..self.columns.len()).filter(|n| !self.generated.contains(n)).collect()
    }

    /// Names of all columns that can be written.
    pub(super) fn written(&self) -> Vec<&str> {
        let columns = self.columns.iter().enumerate();
        let written = columns.filter(|(n, _)| !self.generated.contains(n));
        written.map(|(_, (name, _))| name.as_str()).collect()
    }

    fn row(&self, id: i32, rng: &mut StdRng) -> String {
        let (mut names, mut values) = (vec!["id".to_owned()], vec![id.to_string()]);
        for n in self.writable() {
            let (name, ty) = &self.columns[n];
            match rng.random_range(0..10) {
                0 | 1 => {}
                _ => {
                    names.push(name.clone());
                    values.push(format!("'{}'", ty.value(rng)));
                }
            }
        }
        let (name, names, values) = (&self.name, names.join(", "), values.join(", "));
        format!("INSERT INTO {name} ({names}) VALUES ({values}) ON CONFLICT DO NOTHING")
    }
}
