//! The columns of each resource.

use serde_json::{Value, json};

use super::kinds;
use super::{creation_age, printed};
use crate::apiserver::object;
use crate::apiserver::registry::Resource;

/// How the cells of a column are found.
pub(super) enum Cell {
    /// A function of the object.
    Computed(fn(&Value) -> Value),
    /// A path and a type, from a CustomResourceDefinition.
    Printed(String, String),
}

/// One column.
pub(super) struct Column {
    name: String,
    kind: String,
    format: &'static str,
    description: String,
    /// Shown only with `-o wide` when above 0.
    priority: i64,
    cell: Cell,
}

impl Column {
    pub(super) fn new(name: &str, kind: &str, cell: fn(&Value) -> Value) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            format: "",
            description: String::new(),
            priority: 0,
            cell: Cell::Computed(cell),
        }
    }

    pub(super) fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    pub(super) fn definition(&self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format, "description": self.description,
            "priority": self.priority,
        })
    }

    pub(super) fn cell(&self, object: &Value) -> Value {
        match &self.cell {
            Cell::Computed(function) => function(object),
            Cell::Printed(path, kind) => printed(object, path, kind),
        }
    }
}

pub(super) fn columns(resource: &Resource) -> Vec<Column> {
    let mut name = Column::new("Name", "string", |object| object::name(object).into());
    name.format = "name";
    name.description = "Name must be unique within a namespace.".into();
    let mut columns = vec![name];
    if let Some(custom) = resource.custom() {
        if custom.columns.is_empty() {
            columns.push(age_column());
        }
        columns.extend(custom.columns.iter().map(from_definition));
        return columns;
    }
    let own = kinds::columns(&resource.group, &resource.plural);
    let (narrow, wide): (Vec<Column>, Vec<Column>) = own.into_iter().partition(|column| column.priority == 0);
    columns.extend(narrow);
    // Events and definitions say in a column of their own when they were.
    if !matches!(resource.plural.as_str(), "events" | "customresourcedefinitions") {
        columns.push(age_column());
    }
    columns.extend(wide);
    columns
}

fn age_column() -> Column {
    let mut column = Column::new("Age", "string", creation_age);
    column.description = "Time since the object was created.".into();
    column
}

fn from_definition(column: &Value) -> Column {
    let text = |field: &str| column[field].as_str().unwrap_or_default().to_owned();
    Column {
        name: text("name"),
        kind: text("type"),
        format: "",
        description: text("description"),
        priority: column["priority"].as_i64().unwrap_or(0),
        cell: Cell::Printed(text("jsonPath"), text("type")),
    }
}
