//! Results as a table, JSON, YAML or CSV.

use clap::ValueEnum;
use serde::Serialize;

/// How a result is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For people and programs.
    Yaml,
    /// For spreadsheets.
    Csv,
}

/// Rows under headings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Headings, in capitals as kubectl writes them.
    pub headings: Vec<&'static str>,
    /// Cells by row.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns as wide as their widest cell, three spaces apart; an empty cell is a dash.
    #[must_use]
    pub fn text(&self) -> String {
        let shown = |cell: &str| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell.to_owned()
            }
        };
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| shown(cell)).collect())
            .collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.headings[column].len()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let headings = self.headings.iter().map(|heading| (*heading).to_owned()).collect();
        std::iter::once(headings)
            .chain(rows)
            .map(|row: Vec<String>| line(&row, &widths))
            .collect()
    }

    /// Comma-separated values by RFC 4180, with lines ended as Unix does.
    #[must_use]
    pub fn csv(&self) -> String {
        let headings = self
            .headings
            .iter()
            .map(|heading| heading.to_lowercase().replace(' ', "_"))
            .collect();
        let lines = std::iter::once(headings).chain(self.rows.iter().cloned());
        lines
            .map(|row: Vec<String>| row.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\n")
            .collect()
    }
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells: Vec<_> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:<width$}"))
        .collect();
    cells.join("   ").trim_end().to_owned() + "\n"
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

/// A result in the wanted form; the table and CSV come from `table`, the others from the value itself.
///
/// # Errors
/// When the value cannot be written in that form.
pub fn render<T: Serialize>(format: Format, value: &T, table: impl FnOnce(&T) -> Table) -> anyhow::Result<String> {
    Ok(match format {
        Format::Table => table(value).text(),
        Format::Csv => table(value).csv(),
        Format::Json => serde_json::to_string_pretty(value)? + "\n",
        Format::Yaml => yaml(value)?,
    })
}

/// YAML with fields in the order of their names.
///
/// # Errors
/// When the value cannot be written as YAML.
pub fn yaml<T: Serialize>(value: &T) -> anyhow::Result<String> {
    let text = serde_saphyr::to_string(&serde_json::to_value(value)?)?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            headings: vec!["NAME", "STATE OF IT"],
            rows: vec![
                vec!["todo".to_owned(), String::new()],
                vec!["a, \"b\"".to_owned(), "Über".to_owned()],
            ],
        }
    }

    #[test]
    fn columns_line_up() {
        assert_eq!(table().text(), "NAME     STATE OF IT\ntodo     -\na, \"b\"   Über\n");
    }

    #[test]
    fn csv_quotes_what_it_must() {
        assert_eq!(table().csv(), "name,state_of_it\ntodo,\n\"a, \"\"b\"\"\",Über\n");
    }
}
