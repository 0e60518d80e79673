//! `core/v1.LimitRange`.

use std::collections::BTreeSet;

use crate::field_error::{ErrorList, FieldError, Path};
use crate::kinds::NameRule;
use crate::quantity::{Format, Quantity};
use crate::tree::Value;
use crate::types::core::resources::{
    default_list, is_overcommit_allowed, quantity, validate_container_name, validate_name,
};
use crate::types::fields::{Fields, Fill, invalid_each};
use crate::types::format;
use crate::types::meta::object_meta::{self, Scope};

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

pub fn default(range: &mut Value) {
    range.within("spec", |spec| spec.each("limits", default_item));
}

/// For containers: the default is the maximum, the default request is the default, else the
/// minimum.
fn default_item(item: &mut Value) {
    for list in LISTS {
        item.within(list, default_list);
    }
    if item.text("type") != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        for (name, amount) in item.pairs(from).to_vec() {
            let target = item.message(to);
            if target.get(&name).is_none() {
                target.make(&[]).insert(name, amount);
            }
        }
    }
}

pub fn validate(range: &Value, errs: &mut ErrorList) {
    object_meta::validate(&range["metadata"], Scope::Namespaced, NameRule::DnsSubdomain, errs);
    let spec = Path::new("spec");
    let path = spec.child("limits");
    let mut types = BTreeSet::new();
    for (i, item) in range["spec"].list("limits").iter().enumerate() {
        let at = path.index(i);
        let kind = item.text("type");
        validate_type(kind, &at.child("type"), errs);
        if !types.insert(kind) {
            errs.push(FieldError::duplicate(&at.child("type"), kind));
        }
        validate_item(item, kind, &at, errs);
    }
}

fn validate_type(kind: &str, path: &Path<'_>, errs: &mut ErrorList) {
    let messages = format::label_key(kind);
    if messages.is_empty()
        && !kind.contains('/')
        && !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim")
    {
        errs.push(FieldError::invalid(path, kind, "must be a standard limit type or fully qualified"));
    }
    invalid_each(errs, path, kind, messages);
}

fn validate_item(item: &Value, kind: &str, path: &Path<'_>, errs: &mut ErrorList) {
    let pod = kind == "Pod";
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for list in LISTS {
        let at = path.child(list);
        if pod && list.starts_with("default") {
            if !item.pairs(list).is_empty() {
                errs.push(FieldError::forbidden(&at, "may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        if list == "maxLimitRequestRatio"
            && kind == "PersistentVolumeClaim"
            && item["min"].get("storage").is_none()
            && item["max"].get("storage").is_none()
        {
            errs.push(FieldError::required(
                &path.child("limits"),
                "either minimum or maximum storage value is required, but neither was provided",
            ));
        }
        for (name, _) in item.pairs(list) {
            if matches!(kind, "Pod" | "Container") {
                validate_container_name(name, &at.key(name), errs);
            } else {
                validate_name(name, &at.key(name), errs);
            }
            names.insert(name);
        }
    }
    for name in names {
        validate_amounts(item, name, pod, path, errs);
    }
}

fn validate_amounts(item: &Value, name: &str, pod: bool, path: &Path<'_>, errs: &mut ErrorList) {
    let amount = |list: &str| {
        let skipped = pod && list.starts_with("default");
        item[list].get(name).filter(|_| !skipped).map(quantity)
    };
    let (min, max, ratio) = (amount("min"), amount("max"), amount("maxLimitRequestRatio"));
    let (limit, request) = (amount("default"), amount("defaultRequest"));
    // Field, the value shown, the smaller by rule and its words, the larger and its words.
    type Rule<'a> = (
        &'static str,
        &'a Option<Quantity>,
        (&'a Option<Quantity>, &'static str),
        (&'a Option<Quantity>, &'static str),
    );
    let rules: [Rule<'_>; 6] = [
        ("min", &min, (&min, "min value"), (&max, "max value")),
        ("defaultRequest", &request, (&min, "min value"), (&request, "default request value")),
        ("defaultRequest", &request, (&request, "default request value"), (&max, "max value")),
        ("defaultRequest", &request, (&request, "default request value"), (&limit, "default limit value")),
        ("default", &min, (&min, "min value"), (&limit, "default value")),
        ("default", &max, (&limit, "default value"), (&max, "max value")),
    ];
    for (field, shown, (low, low_name), (high, high_name)) in rules {
        if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
            && low > high
        {
            errs.push(FieldError::invalid(
                &path.child(field).key(name),
                shown.to_string(),
                format!("{low_name} {low} is greater than {high_name} {high}"),
            ));
        }
    }
    if let Some(ratio) = &ratio {
        validate_ratio(
            ratio,
            min.as_ref(),
            max.as_ref(),
            &path.child("maxLimitRequestRatio").key(name),
            errs,
        );
    }
    if let (Some(limit), Some(request)) = (&limit, &request)
        && !is_overcommit_allowed(name)
        && limit != request
    {
        errs.push(FieldError::invalid(
            &path.child("defaultRequest").key(name),
            request.to_string(),
            format!("default value {limit} must equal to defaultRequest value {request} in {name}"),
        ));
    }
}

fn validate_ratio(
    ratio: &Quantity,
    min: Option<&Quantity>,
    max: Option<&Quantity>,
    path: &Path<'_>,
    errs: &mut ErrorList,
) {
    if *ratio < Quantity::new(1, Format::DecimalSi) {
        errs.push(FieldError::invalid(path, ratio.to_string(), format!("ratio {ratio} is less than 1")));
    }
    let (Some(min), Some(max)) = (min, max) else { return };
    let limit = max.as_f64() / min.as_f64();
    if ratio.as_f64() > limit {
        errs.push(FieldError::invalid(
            path,
            ratio.to_string(),
            format!("ratio {ratio} is greater than max/min = {limit:.6}"),
        ));
    }
}
