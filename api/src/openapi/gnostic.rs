//! The v2 document as protobuf (`openapi.v2.Document` of gnostic): the only form old kubectl reads.
//! The numbers are those of gnostic's OpenAPIv2.proto.

use crate::codec::json;
use crate::tree::Value;

/// Appends protobuf; nested messages are built apart, since the document is made once.
#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }
    fn bytes(&mut self, number: u64, bytes: &[u8]) {
        self.varint(number << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
    /// A text that is there and not empty.
    fn text(&mut self, number: u64, value: &Value) {
        if let Some(text) = value.as_str().filter(|t| !t.is_empty()) {
            self.bytes(number, text.as_bytes());
        }
    }
    fn texts(&mut self, number: u64, value: &Value) {
        value.items().iter().for_each(|v| self.bytes(number, v.str_or_empty().as_bytes()));
    }
    fn flag(&mut self, number: u64, value: &Value) {
        if value.as_bool() == Some(true) {
            self.varint(number << 3);
            self.varint(1);
        }
    }
    fn nested(&mut self, number: u64, fill: impl FnOnce(&mut Out)) {
        let mut inner = Out::default();
        fill(&mut inner);
        self.bytes(number, &inner.0);
    }
    /// A named entry of a map: name 1, value 2.
    fn named(&mut self, number: u64, name: &str, fill: impl FnOnce(&mut Out)) {
        self.nested(number, |out| {
            out.bytes(1, name.as_bytes());
            out.nested(2, fill);
        });
    }
    /// `Any`: JSON is YAML.
    fn any(&mut self, number: u64, value: &Value) {
        self.nested(number, |out| out.bytes(2, &json::encode(value)));
    }
    fn extensions(&mut self, number: u64, value: &Value) {
        for (key, extension) in value.members().iter().filter(|(k, _)| k.starts_with("x-")) {
            self.named(number, key, |out| out.bytes(2, &json::encode(extension)));
        }
    }
}

/// Encodes a document that [`super::v2`] made.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Out::default();
    out.text(1, &document["swagger"]);
    out.nested(2, |out| {
        out.text(1, &document["info"]["title"]);
        out.text(2, &document["info"]["version"]);
    });
    out.nested(8, |out| {
        for (path, item) in document["paths"].members() {
            out.named(2, path, |out| path_item(item, out));
        }
    });
    out.nested(9, |out| {
        for (name, definition) in document["definitions"].members() {
            out.named(1, name, |out| schema(definition, out));
        }
    });
    for requirement in document["security"].items() {
        out.nested(12, |out| {
            for (name, scopes) in requirement.members() {
                out.named(1, name, |out| out.texts(1, scopes));
            }
        });
    }
    out.nested(13, |out| {
        for (name, key) in document["securityDefinitions"].members() {
            // SecurityDefinitionsItem: the second choice is an API key.
            out.named(1, name, |out| {
                out.nested(2, |out| {
                    out.text(1, &key["type"]);
                    out.text(2, &key["name"]);
                    out.text(3, &key["in"]);
                    out.text(4, &key["description"]);
                });
            });
        }
    });
    out.0
}

const METHODS: &[(&str, u64)] =
    &[("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("options", 6), ("head", 7), ("patch", 8)];

fn path_item(item: &Value, out: &mut Out) {
    for (method, number) in METHODS {
        if let Some(value) = item.get(method) {
            out.nested(*number, |out| operation(value, out));
        }
    }
    parameters(9, &item["parameters"], out);
}

fn operation(value: &Value, out: &mut Out) {
    out.texts(1, &value["tags"]);
    out.text(3, &value["description"]);
    out.text(5, &value["operationId"]);
    out.texts(6, &value["produces"]);
    out.texts(7, &value["consumes"]);
    parameters(8, &value["parameters"], out);
    out.nested(9, |out| {
        for (code, response) in value["responses"].members() {
            out.named(1, code, |out| {
                out.nested(1, |out| {
                    out.text(1, &response["description"]);
                    if let Some(body) = response.get("schema") {
                        out.nested(2, |out| out.nested(1, |out| schema(body, out)));
                    }
                });
            });
        }
    });
    out.texts(10, &value["schemes"]);
    out.extensions(13, value);
}

fn parameters(number: u64, list: &Value, out: &mut Out) {
    for parameter in list.items() {
        out.nested(number, |out| out.nested(1, |out| one_parameter(parameter, out)));
    }
}

fn one_parameter(value: &Value, out: &mut Out) {
    match value["in"].str_or_empty() {
        "body" => out.nested(1, |out| {
            out.text(2, &value["name"]);
            out.text(3, &value["in"]);
            out.flag(4, &value["required"]);
            out.nested(5, |out| schema(&value["schema"], out));
        }),
        // In the query 'allow empty value' comes before the type, so the numbers differ by one.
        place => out.nested(2, |out| {
            let (choice, shift) = if place == "query" { (3, 1) } else { (4, 0) };
            out.nested(choice, |out| {
                out.flag(1, &value["required"]);
                out.text(2, &value["in"]);
                out.text(4, &value["name"]);
                out.text(5 + shift, &value["type"]);
                out.flag(19 + shift, &value["uniqueItems"]);
            });
        }),
    }
}

fn schema(value: &Value, out: &mut Out) {
    out.text(1, &value["$ref"]);
    out.text(2, &value["format"]);
    out.text(4, &value["description"]);
    if let Some(default) = value.get("default") {
        out.any(5, default);
    }
    out.texts(19, &value["required"]);
    for choice in value["enum"].items() {
        out.any(20, choice);
    }
    if let Some(additional) = value.get("additionalProperties") {
        out.nested(21, |out| out.nested(1, |out| schema(additional, out)));
    }
    if value["type"].is_string() {
        out.nested(22, |out| out.text(1, &value["type"]));
    }
    if let Some(items) = value.get("items") {
        out.nested(23, |out| out.nested(1, |out| schema(items, out)));
    }
    if let Some(properties) = value.get("properties") {
        out.nested(25, |out| {
            for (name, property) in properties.members() {
                out.named(1, name, |out| schema(property, out));
            }
        });
    }
    out.extensions(31, value);
}
