//! The paths of a group version and what can be done on each.

use std::collections::BTreeMap;

use super::operation::{
    Body, DELETE, DELETE_COLLECTION, LIST, Media, Operation, PATCH, PRETTY, Parameter, WRITE, path, query,
};
use crate::kinds::{GroupVersion, Kind, Served, Subresource};
use crate::schema::{self, Type};

pub(super) type Paths = BTreeMap<String, Vec<Operation>>;

/// `apps` + `v1` is `AppsV1`; `rbac.authorization.k8s.io` + `v1` is `RbacAuthorizationV1`.
fn camel(group: &str, version: &str) -> String {
    let group = group_words(group);
    capitalize(&group) + &capitalize(version)
}

/// `rbacAuthorization`.
pub(super) fn group_words(group: &str) -> String {
    let name = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    let mut words = name.split('.');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |out, word| out + &capitalize(word))
}

pub(super) fn capitalize(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

/// `/api/v1` or `/apis/<group>/<version>`.
pub(super) fn base(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

struct Row<'a> {
    kind: &'a Kind,
    served: &'a Served,
    base: String,
    /// `AppsV1`.
    camel: String,
    tag: String,
}

pub(super) fn of(gv: &GroupVersion) -> Paths {
    let mut paths = Paths::new();
    let base = base(gv.group, gv.version);
    let camel = camel(gv.group, gv.version);
    let tag = format!("{}_{}", group_words(gv.group), gv.version);
    paths.insert(
        format!("{base}/"),
        vec![Operation {
            method: "get",
            id: format!("get{camel}APIResources"),
            tag: tag.clone(),
            action: None,
            parameters: Vec::new(),
            request: None,
            response: Body::Message("meta/v1.APIResourceList".to_owned()),
            codes: &["200"],
            media: Media::Object,
        }],
    );
    for (kind, served) in &gv.kinds {
        let row = Row { kind, served, base: base.clone(), camel: camel.clone(), tag: tag.clone() };
        row.collection(&mut paths);
        row.item(&mut paths);
        row.watches(&mut paths);
        for sub in kind.subresources {
            row.subresource(sub, &mut paths);
        }
    }
    paths
}

impl Row<'_> {
    fn can(&self, verb: &str) -> bool {
        self.kind.verbs.contains(&verb)
    }
    fn scope(&self) -> &'static str {
        if self.kind.namespaced { "Namespaced" } else { "" }
    }
    fn collection_path(&self) -> String {
        let namespace = if self.kind.namespaced { "/namespaces/{namespace}" } else { "" };
        format!("{}{namespace}/{}", self.base, self.kind.plural)
    }
    fn item_path(&self) -> String {
        self.collection_path() + "/{name}"
    }
    /// Name in the path where `item`, namespace where the kind has one, and `pretty`.
    fn around(&self, item: bool) -> Vec<Parameter> {
        let mut out = vec![PRETTY];
        if self.kind.namespaced {
            out.push(path("namespace"));
        }
        if item {
            out.push(path("name"));
        }
        out
    }
    fn message(&self) -> Body {
        Body::Message(self.served.message.to_owned())
    }
    fn list(&self) -> Body {
        Body::Message(format!("{}List", self.served.message))
    }
    fn gvk(&self) -> [String; 3] {
        [self.served.group.to_owned(), self.served.version.to_owned(), self.kind.kind.to_owned()]
    }

    fn operation(
        &self,
        method: &'static str,
        action: &'static str,
        id: String,
        around: Vec<Parameter>,
        own: &[Parameter],
        response: Body,
    ) -> Operation {
        let mut parameters = around;
        parameters.extend_from_slice(own);
        Operation {
            method,
            id,
            tag: self.tag.clone(),
            action: Some((action, self.gvk())),
            parameters,
            request: None,
            response,
            codes: &["200"],
            media: Media::Object,
        }
    }

    fn collection(&self, paths: &mut Paths) {
        let (camel, kind, scope) = (&self.camel, self.kind.kind, self.scope());
        let mut operations = Vec::new();
        if self.can("list") {
            let id = format!("list{camel}{scope}{kind}");
            let list = self.operation("get", "list", id, self.around(false), LIST, self.list());
            operations.push(Operation { media: Media::Stream, ..list });
        }
        if self.can("create") {
            let id = format!("create{camel}{scope}{kind}");
            let create = self.operation("post", "post", id, self.around(false), WRITE, self.message());
            operations.push(Operation {
                request: Some((self.message(), true)),
                codes: &["200", "201", "202"],
                ..create
            });
        }
        if self.can("deletecollection") {
            let id = format!("delete{camel}Collection{scope}{kind}");
            let status = Body::Message("meta/v1.Status".to_owned());
            let delete = self.operation(
                "delete",
                "deletecollection",
                id,
                self.around(false),
                DELETE_COLLECTION,
                status,
            );
            operations.push(Operation { request: Some((delete_options(), false)), ..delete });
        }
        paths.insert(self.collection_path(), operations);
        if self.kind.namespaced && self.can("list") {
            let id = format!("list{camel}{kind}ForAllNamespaces");
            let list = self.operation("get", "list", id, vec![PRETTY], LIST, self.list());
            let path = format!("{}/{}", self.base, self.kind.plural);
            paths.insert(path, vec![Operation { media: Media::Stream, ..list }]);
        }
    }

    fn item(&self, paths: &mut Paths) {
        let (camel, kind, scope) = (&self.camel, self.kind.kind, self.scope());
        let mut operations = Vec::new();
        if self.can("get") {
            let id = format!("read{camel}{scope}{kind}");
            operations.push(self.operation("get", "get", id, self.around(true), &[], self.message()));
        }
        if self.can("update") {
            operations.push(self.replace(format!("replace{camel}{scope}{kind}"), self.gvk(), self.message()));
        }
        if self.can("patch") {
            operations.push(self.patch(format!("patch{camel}{scope}{kind}"), self.gvk(), self.message()));
        }
        if self.can("delete") {
            let id = format!("delete{camel}{scope}{kind}");
            let response = if self.kind.returns_deleted {
                self.message()
            } else {
                Body::Message("meta/v1.Status".to_owned())
            };
            let delete = self.operation("delete", "delete", id, self.around(true), DELETE, response);
            operations.push(Operation {
                request: Some((delete_options(), false)),
                codes: &["200", "202"],
                ..delete
            });
        }
        if !operations.is_empty() {
            paths.insert(self.item_path(), operations);
        }
    }

    fn replace(&self, id: String, gvk: [String; 3], body: Body) -> Operation {
        let put = self.operation("put", "put", id, self.around(true), WRITE, body.clone());
        Operation { action: Some(("put", gvk)), request: Some((body, true)), codes: &["200", "201"], ..put }
    }

    fn patch(&self, id: String, gvk: [String; 3], body: Body) -> Operation {
        let patch = self.operation("patch", "patch", id, self.around(true), PATCH, body);
        Operation {
            action: Some(("patch", gvk)),
            request: Some((Body::Patch, true)),
            codes: &["200", "201"],
            ..patch
        }
    }

    /// The old paths under `watch/`, which clients do not use any more but find in the document.
    fn watches(&self, paths: &mut Paths) {
        if !self.can("watch") {
            return;
        }
        let (camel, kind, scope) = (&self.camel, self.kind.kind, self.scope());
        let event = || Body::Message("meta/v1.WatchEvent".to_owned());
        let mut add = |path: String, action, id: String, around| {
            let watch = self.operation("get", action, id, around, LIST, event());
            paths.insert(path, vec![Operation { media: Media::Stream, ..watch }]);
        };
        let after = |path: String| path.replacen(&self.base, &format!("{}/watch", self.base), 1);
        add(
            after(self.collection_path()),
            "watchlist",
            format!("watch{camel}{scope}{kind}List"),
            self.around(false),
        );
        add(after(self.item_path()), "watch", format!("watch{camel}{scope}{kind}"), self.around(true));
        if self.kind.namespaced {
            add(
                format!("{}/watch/{}", self.base, self.kind.plural),
                "watchlist",
                format!("watch{camel}{kind}ListForAllNamespaces"),
                vec![PRETTY],
            );
        }
    }

    fn subresource(&self, sub: &Subresource, paths: &mut Paths) {
        let (group, version) = sub.group_version.unwrap_or((self.served.group, self.served.version));
        let message = if sub.group_version.is_none() && sub.kind == self.kind.kind {
            self.served.message.to_owned()
        } else {
            format!("{}/{version}.{}", schema::folder(group), sub.kind)
        };
        let gvk = [group.to_owned(), version.to_owned(), sub.kind.to_owned()];
        let suffix = format!("{}{}{}", self.scope(), self.kind.kind, capitalize(sub.name));
        let path = format!("{}/{}", self.item_path(), sub.name);
        if sub.kind.ends_with("Options") {
            return self.connect(sub, &message, &gvk, &suffix, &path, paths);
        }
        let body = Body::Message(message.clone());
        let mut operations = Vec::new();
        for verb in sub.verbs {
            operations.push(match *verb {
                "get" if sub.name == "log" => self.log(format!("read{}{suffix}", self.camel)),
                "get" => {
                    let id = format!("read{}{suffix}", self.camel);
                    let get = self.operation("get", "get", id, self.around(true), &[], body.clone());
                    Operation { action: Some(("get", gvk.clone())), ..get }
                }
                "update" => self.replace(format!("replace{}{suffix}", self.camel), gvk.clone(), body.clone()),
                "patch" => self.patch(format!("patch{}{suffix}", self.camel), gvk.clone(), body.clone()),
                "create" => {
                    let id = format!("create{}{suffix}", self.camel);
                    let post = self.operation("post", "post", id, self.around(true), WRITE, body.clone());
                    Operation {
                        action: Some(("post", gvk.clone())),
                        request: Some((body.clone(), true)),
                        codes: &["200", "201", "202"],
                        ..post
                    }
                }
                _ => continue,
            });
        }
        paths.insert(path, operations);
    }

    fn log(&self, id: String) -> Operation {
        let own = options_parameters("core/v1.PodLogOptions");
        let get = self.operation("get", "get", id, self.around(true), &own, Body::Text);
        Operation { media: Media::Log, ..get }
    }

    /// Streams and proxies: every verb is a method, `proxy` has them all and a path of its own.
    fn connect(
        &self,
        sub: &Subresource,
        message: &str,
        gvk: &[String; 3],
        suffix: &str,
        at: &str,
        paths: &mut Paths,
    ) {
        let is_proxy = sub.name == "proxy";
        let methods: &[&'static str] = if is_proxy {
            &["get", "put", "post", "delete", "options", "head", "patch"]
        } else {
            &["get", "post"]
        };
        let own = options_parameters(message);
        let make = |with_path: bool| -> Vec<Operation> {
            methods
                .iter()
                .map(|method| {
                    let end = if with_path { "WithPath" } else { "" };
                    let id = format!("connect{}{}{suffix}{end}", self.camel, capitalize(method));
                    let mut around = self.around(true);
                    around.retain(|p| *p != PRETTY);
                    around.extend(with_path.then_some(path("path")));
                    let operation = self.operation(method, "connect", id, around, &own, Body::Text);
                    Operation { action: Some(("connect", gvk.clone())), media: Media::Any, ..operation }
                })
                .collect()
        };
        paths.insert(at.to_owned(), make(false));
        if is_proxy {
            paths.insert(format!("{at}/{{path}}"), make(true));
        }
    }
}

fn delete_options() -> Body {
    Body::Message("meta/v1.DeleteOptions".to_owned())
}

/// The fields of an options message as parameters of the query.
fn options_parameters(message: &str) -> Vec<Parameter> {
    let schema = schema::builtin();
    let Some(id) = schema.find(message) else { return Vec::new() };
    let fields = schema.message(id).fields.iter();
    fields
        .filter(|f| !matches!(f.json, "kind" | "apiVersion" | "sinceTime"))
        .filter(|f| !(message.ends_with("PodPortForwardOptions") && f.json != "ports"))
        .map(|f| {
            let ty = match f.ty {
                Type::Bool => "boolean",
                Type::Int32 | Type::Int64 => "integer",
                Type::List(ref item) if matches!(**item, Type::Int32 | Type::Int64) => "integer",
                _ => "string",
            };
            query(f.json, ty)
        })
        .collect()
}
