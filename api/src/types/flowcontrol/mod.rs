//! `flowcontrol.apiserver.k8s.io/v1`: FlowSchema and PriorityLevelConfiguration.

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::tree::Value;
use crate::types::fields::{Fields, Fill, invalid_each, non_negative, one_of, required_text};
use crate::types::format;
use crate::types::meta::object_meta::{self, Scope};

const PRECEDENCE: i64 = 1000;
const PRECEDENCE_MAX: i64 = 10_000;
const SHARES: i64 = 30;
const QUEUES: i64 = 64;
const QUEUES_MAX: i64 = 10_000_000;
const HAND_SIZE: i64 = 8;
const QUEUE_LENGTH: i64 = 50;

pub fn default_flow_schema(schema: &mut Value) {
    schema.message("spec").fill_zero("matchingPrecedence", PRECEDENCE);
}

pub fn validate_flow_schema(schema: &Value, errs: &mut ErrorList) {
    object_meta::validate(&schema["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    let (spec, path) = (&schema["spec"], Path::new("spec"));
    let (precedence, at) = (spec.int("matchingPrecedence"), path.child("matchingPrecedence"));
    if precedence <= 0 {
        errs.push(FieldError::invalid(&at, precedence, "must be a positive value"));
    }
    if precedence > PRECEDENCE_MAX {
        errs.push(FieldError::invalid(&at, precedence, format!("must not be greater than {PRECEDENCE_MAX}")));
    }
    if precedence == 1 && schema["metadata"].text("name") != "exempt" {
        errs.push(FieldError::invalid(
            &at,
            precedence,
            "only the schema named 'exempt' may have matchingPrecedence 1",
        ));
    }
    if let Some(method) = spec.opt("distinguisherMethod") {
        let at = path.child("distinguisherMethod");
        one_of(errs, &at.child("type"), method.text("type"), &["ByNamespace", "ByUser"]);
    }
    let name = spec["priorityLevelConfiguration"].text("name");
    let at = path.child("priorityLevelConfiguration");
    if name.is_empty() {
        errs.push(FieldError::required(&at.child("name"), "must reference a priority level"));
    } else {
        invalid_each(errs, &at.child("name"), name, format::dns_subdomain(name));
    }
    let at = path.child("rules");
    for (i, rule) in spec.list("rules").iter().enumerate() {
        validate_rule(rule, &at.index(i), errs);
    }
}

fn validate_rule(rule: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let at = path.child("subjects");
    if rule.list("subjects").is_empty() {
        errs.push(FieldError::required(&at, "subjects must contain at least one value"));
    }
    for (i, subject) in rule.list("subjects").iter().enumerate() {
        let at = at.index(i);
        let kind = subject.text("kind");
        let member = match kind {
            "User" => "user",
            "Group" => "group",
            "ServiceAccount" => "serviceAccount",
            other => {
                errs.push(FieldError::not_supported(
                    &at.child("kind"),
                    other,
                    &["Group", "ServiceAccount", "User"],
                ));
                continue;
            }
        };
        match subject.opt(member) {
            None => errs.push(FieldError::required(
                &at.child(member),
                format!("{member} is required when subject kind is '{kind}'"),
            )),
            Some(s) => required_text(errs, &at.child(member).child("name"), s.text("name")),
        }
    }
    let (resources, others) = (rule.list("resourceRules"), rule.list("nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        errs.push(FieldError::required(
            path,
            "at least one of resourceRules and nonResourceRules has to be non-empty",
        ));
    }
    let needed = |holder: &Value, field: &str, at: &Path<'_>, errs: &mut ErrorList| {
        let list = holder.list(field);
        if list.is_empty() {
            errs.push(FieldError::required(&at.child(field), ""));
        } else if list.len() > 1 && list.iter().any(|v| *v == "*") {
            errs.push(FieldError::invalid(
                &at.child(field),
                holder[field].clone(),
                "if '*' is present, must not specify other ".to_owned() + field,
            ));
        }
    };
    let at = path.child("resourceRules");
    for (i, r) in resources.iter().enumerate() {
        let at = at.index(i);
        for field in ["verbs", "apiGroups", "resources"] {
            needed(r, field, &at, errs);
        }
        if r.list("namespaces").is_empty() && !r.flag("clusterScope") {
            errs.push(FieldError::required(
                &at.child("namespaces"),
                "resource rules that are not cluster scoped must supply at least one namespace",
            ));
        }
    }
    let at = path.child("nonResourceRules");
    for (i, r) in others.iter().enumerate() {
        for field in ["verbs", "nonResourceURLs"] {
            needed(r, field, &at.index(i), errs);
        }
    }
}

pub fn default_priority_level(level: &mut Value) {
    let spec = level.message("spec");
    spec.within("limited", |limited| {
        limited.fill_absent("nominalConcurrencyShares", SHARES);
        limited.fill_absent("lendablePercent", 0);
        limited.within("limitResponse", |r| {
            r.within("queuing", |q| {
                q.fill_zero("handSize", HAND_SIZE);
                q.fill_zero("queues", QUEUES);
                q.fill_zero("queueLengthLimit", QUEUE_LENGTH);
            });
        });
    });
    if spec.text("type") == "Exempt" {
        let exempt = spec.message("exempt");
        exempt.fill_absent("nominalConcurrencyShares", 0);
        exempt.fill_absent("lendablePercent", 0);
    }
}

pub fn validate_priority_level(level: &Value, errs: &mut ErrorList) {
    object_meta::validate(&level["metadata"], Scope::Cluster, NameRule::DnsSubdomain, errs);
    let (spec, path) = (&level["spec"], Path::new("spec"));
    match spec.text("type") {
        "Exempt" => {
            if spec.has("limited") {
                errs.push(FieldError::forbidden(
                    &path.child("limited"),
                    "must be nil if the type is not Limited",
                ));
            }
        }
        "Limited" => match spec.opt("limited") {
            None => errs
                .push(FieldError::required(&path.child("limited"), "must not be empty when type is Limited")),
            Some(limited) => validate_limited(limited, &path.child("limited"), errs),
        },
        other => errs.push(FieldError::not_supported(&path.child("type"), other, &["Exempt", "Limited"])),
    }
}

fn validate_limited(limited: &Value, path: &Path<'_>, errs: &mut ErrorList) {
    let shares = limited.int("nominalConcurrencyShares");
    non_negative(errs, &path.child("nominalConcurrencyShares"), shares);
    let response = &limited["limitResponse"];
    let at = path.child("limitResponse");
    let queuing = at.child("queuing");
    match response.text("type") {
        "Reject" => {
            if response.has("queuing") {
                errs.push(FieldError::forbidden(
                    &queuing,
                    "must be nil if limited.limitResponse.type is not Limited",
                ));
            }
        }
        "Queue" => match response.opt("queuing") {
            None => errs.push(FieldError::required(
                &queuing,
                "must not be empty if limited.limitResponse.type is Limited",
            )),
            Some(q) => {
                for field in ["queueLengthLimit", "queues", "handSize"] {
                    if q.int(field) <= 0 {
                        errs.push(FieldError::invalid(
                            &queuing.child(field),
                            q.int(field),
                            "must be positive",
                        ));
                    }
                }
                if q.int("queues") > QUEUES_MAX {
                    errs.push(FieldError::invalid(
                        &queuing.child("queues"),
                        q.int("queues"),
                        format!("must not be greater than {QUEUES_MAX}"),
                    ));
                }
                if q.int("handSize") > q.int("queues") {
                    errs.push(FieldError::invalid(
                        &queuing.child("handSize"),
                        q.int("handSize"),
                        format!("should not be greater than queues ({})", q.int("queues")),
                    ));
                }
            }
        },
        other => errs.push(FieldError::not_supported(&at.child("type"), other, &["Queue", "Reject"])),
    }
    if let Some(percent) = limited.opt_int("lendablePercent").filter(|p| !(0..=100).contains(p)) {
        errs.push(FieldError::invalid(
            &path.child("lendablePercent"),
            percent,
            "must be between 0 and 100, inclusive",
        ));
    }
    if let Some(percent) = limited.opt_int("borrowingLimitPercent") {
        non_negative(errs, &path.child("borrowingLimitPercent"), percent);
    }
}
