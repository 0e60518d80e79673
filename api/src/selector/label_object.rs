//! The object form of label selectors: `matchLabels` and `matchExpressions`.

use std::collections::BTreeSet;

use super::label::{LabelSelector, Operator};
use super::label_parse::checked;
use super::syntax::{label_value_errors, qualified_name_errors};
use crate::field_error::{ErrorList, FieldError, Path};
use crate::tree::Value;

/// A `LabelSelector` object that means nothing: validation would have refused it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

impl LabelSelector {
    /// Null selects nothing, `{}` everything.
    pub fn from_object(selector: &Value) -> Result<LabelSelector, SelectorError> {
        if selector.is_null() {
            return Ok(LabelSelector::nothing());
        }
        let mut requirements = Vec::new();
        let mut push = |key: &str, operator, values: BTreeSet<String>| {
            let wrong = qualified_name_errors(key);
            if !wrong.is_empty() {
                return Err(SelectorError(format!("key: Invalid value: {key:?}: {}", wrong.join("; "))));
            }
            requirements.push(checked(key.to_owned(), operator, values).map_err(SelectorError)?);
            Ok(())
        };
        for (key, value) in selector["matchLabels"].members() {
            push(key, Operator::Equals, BTreeSet::from([value.str_or_empty().to_owned()]))?;
        }
        for expression in selector["matchExpressions"].items() {
            let operator = match expression["operator"].str_or_empty() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!("{other:?} is not a valid label selector operator")));
                }
            };
            let values = expression["values"].items().iter().map(|v| v.str_or_empty().to_owned()).collect();
            push(expression["key"].str_or_empty(), operator, values)?;
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(LabelSelector { requirements, nothing: false })
    }
}

/// What is wrong with a `LabelSelector` object, at `path`; null is fine.
pub fn validate(selector: &Value, path: &Path<'_>) -> ErrorList {
    let mut errors = Vec::new();
    let labels_path = path.child("matchLabels");
    for (key, value) in selector["matchLabels"].members() {
        let wrong = qualified_name_errors(key);
        errors.extend(wrong.into_iter().map(|e| FieldError::invalid(&labels_path, &**key, e)));
        let value = value.str_or_empty();
        errors.extend(
            label_value_errors(value).into_iter().map(|e| FieldError::invalid(&labels_path, value, e)),
        );
    }
    let expressions_path = path.child("matchExpressions");
    for (i, expression) in selector["matchExpressions"].items().iter().enumerate() {
        let path = expressions_path.index(i);
        let values_path = path.child("values");
        let values = expression["values"].items();
        match expression["operator"].str_or_empty() {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                &values_path,
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
                &values_path,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errors.push(FieldError::invalid(
                    &path.child("operator"),
                    other,
                    "not a valid selector operator",
                ));
            }
        }
        let key = expression["key"].str_or_empty();
        let wrong = qualified_name_errors(key);
        errors.extend(wrong.into_iter().map(|e| FieldError::invalid(&path.child("key"), key, e)));
        for (j, value) in values.iter().enumerate() {
            let value = value.str_or_empty();
            let wrong = label_value_errors(value);
            errors.extend(wrong.into_iter().map(|e| FieldError::invalid(&values_path.index(j), value, e)));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn objects_become_selectors() {
        let selector = value!({
            "matchLabels": {"app": "a"},
            "matchExpressions": [
                {"key": "tier", "operator": "NotIn", "values": ["x"]},
                {"key": "b", "operator": "Exists"},
            ],
        });
        assert_eq!(LabelSelector::from_object(&selector).unwrap().to_string(), "app=a,b,tier notin (x)");
        assert!(LabelSelector::from_object(&Value::Null).unwrap().nothing);
        assert!(LabelSelector::from_object(&Value::object()).unwrap().is_everything());
        let bad = value!({"matchExpressions": [{"key": "a", "operator": "X"}]});
        let error = LabelSelector::from_object(&bad).unwrap_err().to_string();
        assert_eq!(error, "\"X\" is not a valid label selector operator");
    }

    #[test]
    fn validation_names_the_field() {
        let selector = value!({"matchExpressions": [
            {"key": "a", "operator": "X"},
            {"key": "a", "operator": "In"},
            {"key": "a", "operator": "Exists", "values": ["v"]},
        ]});
        let errors: Vec<String> = validate(&selector, &Path::new("spec").child("selector"))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            errors,
            [
                "spec.selector.matchExpressions[0].operator: Invalid value: \"X\": not a valid selector operator",
                "spec.selector.matchExpressions[1].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                "spec.selector.matchExpressions[2].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ]
        );
    }
}
