use super::*;
use crate::schema::builtin;
use crate::value;

fn read(message: &str, text: &str) -> Result<Decoded, String> {
    let schema = builtin();
    decode(schema, schema.find(message).unwrap(), text.as_bytes()).map_err(|e| e.to_string())
}

#[test]
fn unknown_and_repeated_fields_are_reported_by_path() {
    let got = read(
        "core/v1.Pod",
        r#"{"metadata":{"name":"a","name":"b"},"spec":{"volumes":[{"name":"v","hostpath":{}}],"Containers":[]},"x":1}"#,
    )
    .unwrap();
    assert_eq!(
        got.strict,
        [
            r#"duplicate field "metadata.name""#,
            r#"unknown field "spec.volumes[0].hostpath""#,
            r#"unknown field "spec.Containers""#,
            r#"unknown field "x""#,
        ]
    );
    assert_eq!(got.value, value!({"metadata": {"name": "b"}, "spec": {"volumes": [{"name": "v"}]}}));
    let got = read("core/v1.ConfigMap", r#"{"data":{"k":"1","j":"","k":"2"}}"#).unwrap();
    assert_eq!(got.strict, [r#"duplicate field "data.k""#]);
    assert_eq!(got.value, value!({"data": {"j": "", "k": "2"}}));
}

#[test]
fn wrong_types_are_told_as_go_tells_them() {
    for (message, text, expected) in [
        (
            "core/v1.ConfigMap",
            r#"{"data":{"a":1}}"#,
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            "core/v1.ConfigMap",
            r#"{"data":[1]}"#,
            "json: cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string",
        ),
        (
            "core/v1.Pod",
            r#"{"spec":{"containers":"x"}}"#,
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "apps/v1.Deployment",
            r#"{"spec":{"replicas":1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "core/v1.Pod",
            r#"{"spec":{"containers":[{"image":true}]}}"#,
            "json: cannot unmarshal bool into Go struct field Container.spec.containers.image of type string",
        ),
        ("core/v1.Secret", r#"{"data":{"a":"$"}}"#, "illegal base64 data at input byte 0"),
        ("core/v1.Pod", "[]", "json: cannot unmarshal array into Go value of type v1.Pod"),
        (
            "coordination/v1.Lease",
            r#"{"spec":{"renewTime":"yesterday"}}"#,
            r#"parsing time "yesterday" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "yesterday" as "2006""#,
        ),
    ] {
        assert_eq!(read(message, text).unwrap_err(), expected);
    }
}

#[test]
fn syntax_errors_are_gos() {
    for (text, expected) in [
        ("", "unexpected end of JSON input"),
        ("{b", "invalid character 'b' looking for beginning of object key string"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("{} {", "invalid character '{' after top-level value"),
        ("\"a\u{1}\"", "invalid character '\\x01' in string literal"),
        ("\"\\q\"", "invalid character 'q' in string escape code"),
        ("trux", "invalid character 'x' in literal true (expecting 'e')"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), expected, "{text}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(parse(deep.as_bytes()).unwrap_err().to_string(), "exceeded max depth");
}

#[test]
fn nulls_are_nil_and_special_types_are_normal() {
    let got = read(
        "core/v1.Pod",
        r#"{"metadata":{"creationTimestamp":null,"labels":null},"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"1000m","memory":1024}}},null],"nodeSelector":{"a":null}}}"#,
    )
    .unwrap();
    assert_eq!(
        got.value,
        value!({
            "metadata": {},
            "spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1024"}}}, {}], "nodeSelector": {"a": ""}},
        })
    );
    let time =
        read("core/v1.Pod", r#"{"metadata":{"creationTimestamp":"2024-02-29T23:30:00.5-01:00"}}"#).unwrap();
    assert_eq!(time.value, value!({"metadata": {"creationTimestamp": "2024-03-01T00:30:00Z"}}));
}

#[test]
fn what_is_written_is_gos() {
    let v = value!({"a": "<b>&\u{2028}\u{7f}é\u{1}\"\\\n", "f": [1e21, 1e-7, 1.5, 100.0, 1e20], "e": {}, "l": []});
    assert_eq!(
        String::from_utf8(encode(&v)).unwrap(),
        "{\"a\":\"\\u003cb\\u003e\\u0026\\u2028\u{7f}é\\u0001\\\"\\\\\\n\",\"f\":[1e+21,1e-7,1.5,100,100000000000000000000],\"e\":{},\"l\":[]}"
    );
    assert_eq!(
        String::from_utf8(encode_pretty(&value!({"a": [1, {}], "b": {"c": "d"}}))).unwrap(),
        "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": {\n    \"c\": \"d\"\n  }\n}"
    );
    assert_eq!(parse(r#""\ud83d\ude00\ud800x""#.as_bytes()).unwrap().value, value!("😀\u{fffd}x"));
}
