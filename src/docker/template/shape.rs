//! What JSON is in Go: a struct or a map, and what stands for a fact that is left out.

/// The Go type of a value, as far as it shows in what a template prints.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Whatever JSON says; an object is a map. Nothing is nothing at all.
    Any,
    /// Text; nothing is the empty one.
    Text,
    /// A number; nothing is 0.
    Number,
    /// A truth value; nothing is false.
    Bool,
    /// A list; nothing is an empty one.
    List(&'static Shape),
    /// A map; nothing is an empty one.
    Map(&'static Shape),
    /// A struct: its fields in order. Fields that are not named here may be there as well.
    Struct(&'static [Field]),
    /// A pointer, which may be nil.
    Pointer(&'static Shape),
    /// The row of a listing, with the name of its type in Go.
    Row(&'static str),
}

/// The name of a struct's field, and what it is. Where JSON has it under another name, that one follows: `ID|Id`.
pub type Field = (&'static str, Shape);

impl Shape {
    /// What a struct's field is called in JSON, and its shape.
    pub(super) fn field(self, name: &str) -> Option<(&'static str, Shape)> {
        self.find(|field| field.0 == name)
    }

    /// The shape of the field that has this name in JSON.
    pub(super) fn json_field(self, key: &str) -> Option<Shape> {
        self.find(|field| field.1 == key).map(|(_, shape)| shape)
    }

    fn find(self, fits: impl Fn((&'static str, &'static str)) -> bool) -> Option<(&'static str, Shape)> {
        let Shape::Struct(fields) = self.target() else { return None };
        let found = fields.iter().find(|(field, _)| fits(names(field)));
        found.map(|(field, shape)| (names(field).1, *shape))
    }

    /// The shape of what is in a list or a map.
    pub(super) fn element(self) -> Shape {
        match self {
            Shape::List(shape) | Shape::Map(shape) => *shape,
            Shape::Pointer(shape) => shape.element(),
            _ => Shape::Any,
        }
    }

    /// Without the pointer.
    pub(super) fn target(self) -> Shape {
        match self {
            Shape::Pointer(shape) => shape.target(),
            shape => shape,
        }
    }

    /// Its name in Go.
    pub(super) fn name(self) -> String {
        match self {
            Shape::Any => "interface {}".into(),
            Shape::Text => "string".into(),
            Shape::Number => "int".into(),
            Shape::Bool => "bool".into(),
            Shape::List(shape) => format!("[]{}", shape.name()),
            Shape::Map(shape) => format!("map[string]{}", shape.name()),
            Shape::Struct(_) => "struct {}".into(),
            Shape::Pointer(shape) => format!("*{}", shape.name()),
            Shape::Row(name) => name.into(),
        }
    }
}

/// A field's names in Go and in JSON.
pub(super) fn names(field: &'static str) -> (&'static str, &'static str) {
    field.split_once('|').unwrap_or((field, field))
}
