//! The result of a case: printed as a table, with one line at the end, and written as JSON.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::machine::Machine;
use crate::statistics::Spread;

/// A figure and its goal, the value that it must not exceed.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub what: String,
    pub value: f64,
    /// The same figure of the earlier build, in a comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
    pub unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub must: Option<f64>,
}

/// Columns of text, aligned when printed.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub name: &'static str,
    pub method: String,
    /// The figures; those with a goal make the last line.
    pub figures: Vec<Figure>,
    pub tables: Vec<Table>,
    pub machine: Machine,
}

impl Table {
    pub fn new<const COLUMNS: usize>(head: [&str; COLUMNS]) -> Self {
        Self {
            head: head.map(str::to_owned).to_vec(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The first column to the left, the others to the right.
    fn text(&self) -> String {
        let width = |column: usize| {
            let cells = std::iter::once(&self.head)
                .chain(&self.rows)
                .map(|row| row[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let line = |row: &Vec<String>| {
            let cells = row.iter().enumerate().map(|(column, cell)| match column {
                0 => format!("{cell:<0$}", width(0)),
                _ => format!("{cell:>0$}", width(column)),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        std::iter::once(&self.head).chain(&self.rows).map(line).collect()
    }
}

impl Figure {
    fn row(&self) -> Vec<String> {
        let verdict = self
            .must
            .map_or("", |must| if self.value <= must { "met" } else { "MISSED" });
        vec![
            self.what.clone(),
            format!("{:.2}", self.value),
            self.before.map_or(String::new(), |before| format!("{before:.2}")),
            self.unit.to_owned(),
            self.must.map_or(String::new(), |must| format!("<= {must}")),
            verdict.to_owned(),
        ]
    }
}

impl Report {
    pub fn new(name: &'static str, method: impl Into<String>) -> Self {
        Self {
            name,
            method: method.into(),
            figures: vec![],
            tables: vec![],
            machine: Machine::here(),
        }
    }

    pub fn goal(&mut self, what: impl Into<String>, value: f64, unit: &'static str, must: f64) {
        self.figures.push(Figure {
            what: what.into(),
            value,
            before: None,
            unit,
            must: Some(must),
        });
    }

    pub fn figure(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure {
            what: what.into(),
            value,
            before: None,
            unit,
            must: None,
        });
    }

    /// Adds the median, the least and the greatest of the ratios of each round.
    pub fn ratio(&mut self, what: &str, ratio: Spread) {
        self.figure(what, ratio.median, "x");
        self.figure(format!("{what}: least"), ratio.min, "x");
        self.figure(format!("{what}: greatest"), ratio.max, "x");
    }

    /// Puts the figures of an earlier build beside those with the same description.
    pub fn compare_with(&mut self, earlier: &Self) {
        for figure in &mut self.figures {
            let same = earlier.figures.iter().find(|other| other.what == figure.what);
            figure.before = same.map(|other| other.value);
        }
    }

    /// The whole, with the figures that have goals in the last line.
    pub fn text(&self) -> String {
        let figures = self.figures_table();
        let tables: String = self
            .tables
            .iter()
            .chain([&figures])
            .map(|table| format!("{}\n", table.text()))
            .collect();
        format!(
            "{}\n\n{}\n\n{tables}on: {}\n{}\n",
            self.name,
            self.method,
            self.machine,
            self.last_line()
        )
    }

    /// The column `before` is there where there is something to compare with.
    fn figures_table(&self) -> Table {
        let compared = self.figures.iter().any(|figure| figure.before.is_some());
        let head = ["figure", "value", "before", "unit", "must", ""].map(str::to_owned);
        let rows = self.figures.iter().map(Figure::row);
        let mut lines: Vec<Vec<String>> = std::iter::once(head.to_vec()).chain(rows).collect();
        if !compared {
            for line in &mut lines {
                line.remove(2);
            }
        }
        let head = lines.remove(0);
        Table { head, rows: lines }
    }

    /// Writes the JSON into `bench/results`.
    pub fn save(&self) -> Result<()> {
        let directory = Path::new("bench/results");
        fs::create_dir_all(directory)?;
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        Ok(fs::write(directory.join(format!("{}.json", self.name)), json)?)
    }

    fn last_line(&self) -> String {
        let goals = self.figures.iter().filter(|figure| figure.must.is_some()).enumerate();
        let parts = goals.map(|(index, Figure { what, value, unit, .. })| match index {
            0 => format!("{value:.2} {unit}"),
            _ => format!("{value:.2} {unit} {what}"),
        });
        format!("{}: {}", self.name, parts.collect::<Vec<_>>().join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_has_the_figures_with_goals() {
        let mut report = Report::new("signal", "method");
        report.goal("p99", 3.1372, "ms", 10.0);
        report.figure("least", 1.0, "ms");
        report.goal("median", 2.5, "ms", 2.0);
        let text = report.text();
        assert_eq!(text.lines().last(), Some("signal: 3.14 ms; 2.50 ms median"));
        let median = text.lines().find(|line| line.starts_with("median")).unwrap();
        assert_eq!(
            median.split_whitespace().collect::<Vec<_>>(),
            ["median", "2.50", "ms", "<=", "2", "MISSED"]
        );
    }

    #[test]
    fn the_figures_of_an_earlier_build_stand_beside_those_with_the_same_description() {
        let (mut report, mut earlier) = (Report::new("signal", "method"), Report::new("signal", "method"));
        earlier.goal("median", 3.0, "ms", 2.0);
        report.figure("least", 1.0, "ms");
        report.goal("median", 2.5, "ms", 2.0);
        report.compare_with(&earlier);
        let text = report.text();
        let words = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            line.split_whitespace().collect::<Vec<_>>()
        };
        assert_eq!(words("figure"), ["figure", "value", "before", "unit", "must"]);
        assert_eq!(words("median"), ["median", "2.50", "3.00", "ms", "<=", "2", "MISSED"]);
        assert_eq!(words("least"), ["least", "1.00", "ms"]);
    }
}
