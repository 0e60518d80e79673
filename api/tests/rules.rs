//! Defaults and validation of the built-in kinds, one line for each rule: what a document lacks is
//! filled in, and what is wrong with it is said at its field.

use trireme_api::codec::json;
use trireme_api::kinds::{self, Context, Kind};
use trireme_api::tree::Value;
use trireme_api::{normal, schema};

const CONTEXT: Context<'static> = Context { now: "2026-01-02T03:04:05Z", user: "admin", dry_run: false };

/// A document as it stands before validation, with its kind.
fn prepared(document: &str) -> (&'static Kind, Value) {
    let plain: Value = serde_json::from_str(document).unwrap_or_else(|e| panic!("{e}: {document}"));
    let api_version = plain["apiVersion"].str_or_empty();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let (kind, served) =
        kinds::by_kind(group, version, plain["kind"].str_or_empty()).expect("a kind that is served");
    let builtin = schema::builtin();
    let message = builtin.find(served.message).expect("a message of the schema");
    let decoded = json::decode(builtin, message, document.as_bytes()).expect("a well-typed document");
    assert_eq!(decoded.strict, Vec::<String>::new(), "{document}");
    let mut object = decoded.value;
    let metadata = object.make(&["metadata"]);
    if metadata.get("name").is_none() {
        metadata.set("name", "a");
    }
    if kind.namespaced {
        metadata.set("namespace", "default");
    }
    metadata.set("uid", "u");
    metadata.set("resourceVersion", "1");
    (served.default)(&mut object);
    if let Some(convert) = served.to_hub {
        convert(&mut object);
    }
    (kind.hub().default)(&mut object);
    (kind.rules.prepare_create)(&mut object, &CONTEXT);
    (kind, object)
}

fn errors(document: &str) -> Vec<String> {
    let (kind, object) = prepared(document);
    (kind.rules.validate)(&object).iter().map(ToString::to_string).collect()
}

fn update_errors(old: &str, new: &str) -> Vec<String> {
    let ((kind, old), (_, mut new)) = (prepared(old), prepared(new));
    (kind.rules.prepare_update)(&mut new, &old, &CONTEXT);
    (kind.rules.validate_update)(&new, &old).iter().map(ToString::to_string).collect()
}

/// The errors of a document of which only `inner` is written out.
fn pod(inner: &str) -> Vec<String> {
    errors(&format!(r#"{{"apiVersion":"v1","kind":"Pod","spec":{inner}}}"#))
}

/// A pod with one container that has `inner`.
fn container(inner: &str) -> Vec<String> {
    pod(&format!(r#"{{"containers":[{{"name":"c","image":"i:1",{inner}}}]}}"#))
}

fn service(inner: &str) -> Vec<String> {
    errors(&format!(r#"{{"apiVersion":"v1","kind":"Service","spec":{inner}}}"#))
}

#[track_caller]
fn check(found: &[String], expected: &[&str]) {
    assert_eq!(found, expected);
}

#[test]
fn containers() {
    check(&container(r#""command":["x"]"#), &[]);
    check(
        &container(r#""imagePullPolicy":"Sometimes""#),
        &[
            r#"spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never""#,
        ],
    );
    check(
        &container(r#""ports":[{"containerPort":70000},{"name":"TOO_LONG_FOR_A_PORT","containerPort":1}]"#),
        &[
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            r#"spec.containers[0].ports[1].name: Invalid value: "TOO_LONG_FOR_A_PORT": must be no more than 15 characters"#,
            r#"spec.containers[0].ports[1].name: Invalid value: "TOO_LONG_FOR_A_PORT": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"#,
            r#"spec.containers[0].ports[1].name: Invalid value: "TOO_LONG_FOR_A_PORT": must contain at least one letter (a-z)"#,
        ],
    );
    check(
        &container(
            r#""env":[{"name":"A=B"},{"name":"C","value":"x","valueFrom":{"fieldRef":{"fieldPath":"spec.nothing"}}}]"#,
        ),
        &[
            r#"spec.containers[0].env[0].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than '='"#,
            r#"spec.containers[0].env[1].valueFrom.fieldRef.fieldPath: Invalid value: "spec.nothing": error converting fieldPath: field label not supported: spec.nothing"#,
            r#"spec.containers[0].env[1].valueFrom: Invalid value: "": may not be specified when `value` is not empty"#,
        ],
    );
    check(
        &container(r#""volumeMounts":[{"name":"v","mountPath":"/x"}]"#),
        &[r#"spec.containers[0].volumeMounts[0].name: Not found: "v""#],
    );
    check(
        &container(r#""readinessProbe":{"tcpSocket":{"port":"Bad_Port"},"terminationGracePeriodSeconds":5}"#),
        &[
            r#"spec.containers[0].readinessProbe.tcpSocket.port: Invalid value: "Bad_Port": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"#,
            "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes",
        ],
    );
    check(
        &container(r#""lifecycle":{"preStop":{"sleep":{"seconds":31}}}"#),
        &[
            "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
        ],
    );
    check(
        &container(r#""resources":{"requests":{"x.example.com/gpu":"1"}}"#),
        &[
            "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
        ],
    );
    check(
        &container(r#""resources":{"claims":[{"name":"c1"}]}"#),
        &[
            r#"spec.containers[0].resources.claims[0]: Not found: "c1": must be one of the names in pod.spec.resourceClaims which is empty"#,
        ],
    );
    check(
        &container(r#""securityContext":{"procMount":"Unmasked","runAsUser":-1}"#),
        &[
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            r#"spec.containers[0].securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`"#,
        ],
    );
}

#[test]
fn pod_specs() {
    let with = |inner: &str| pod(&format!(r#"{{"containers":[{{"name":"c","image":"i:1"}}],{inner}}}"#));
    check(
        &with(
            r#""volumes":[{"name":"v","nfs":{"server":"s","path":"relative"}},{"name":"v","configMap":{"items":[{"key":"k","path":"../k"}]}}]"#,
        ),
        &[
            r#"spec.volumes[0].nfs.path: Invalid value: "relative": must be an absolute path"#,
            "spec.volumes[1].configMap.name: Required value",
            r#"spec.volumes[1].configMap.items[0].path: Invalid value: "../k": must not contain '..'"#,
        ],
    );
    check(
        &with(
            r#""volumes":[{"name":"v","projected":{"sources":[{"serviceAccountToken":{"path":"t","expirationSeconds":1}}]}}],"serviceAccountName":"s""#,
        ),
        &[
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
        ],
    );
    check(
        &with(r#""hostname":"a.b","activeDeadlineSeconds":0"#),
        &[
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
            r#"spec.hostname: Invalid value: "a.b": must not contain dots"#,
        ],
    );
    check(
        &with(r#""topologySpreadConstraints":[{"maxSkew":0,"topologyKey":"","whenUnsatisfiable":"Maybe"}]"#),
        &[
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
            r#"spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Maybe": supported values: "DoNotSchedule", "ScheduleAnyway""#,
        ],
    );
    check(
        &with(r#""hostUsers":false,"hostPID":true,"hostAliases":[{"ip":"300.0.0.1"}]"#),
        &[
            "spec.HostPID: Forbidden: when `pod.Spec.HostUsers` is false",
            r#"spec.hostAliases[0].ip: Invalid value: "300.0.0.1": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
        ],
    );
    check(
        &with(r#""nodeName":"n","schedulingGates":[{"name":"g"}]"#),
        &["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
    );
    check(
        &with(r#""os":{"name":"windows"},"securityContext":{"fsGroup":1}"#),
        &["spec.securityContext.fsGroup: Forbidden: cannot be set for a windows pod"],
    );
}

#[test]
fn pods_get_requests_from_limits_and_templates_do_not() {
    let limits = r#"{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"100m"}}}]}"#;
    let (_, pod) = prepared(&format!(r#"{{"apiVersion":"v1","kind":"Pod","spec":{limits}}}"#));
    assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"].str_or_empty(), "100m");
    assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"].str_or_empty(), "Always");
    assert_eq!(pod["status"].to_string(), r#"{"phase":"Pending","qosClass":"Burstable"}"#);
    let (_, rc) = prepared(&format!(
        r#"{{"apiVersion":"v1","kind":"ReplicationController","spec":{{"template":{{"metadata":{{"labels":{{"a":"b"}}}},"spec":{limits}}}}}}}"#
    ));
    let template = &rc["spec"]["template"]["spec"];
    assert!(template["containers"][0]["resources"]["requests"].is_null());
    assert!(template["enableServiceLinks"].is_null());
    assert_eq!(rc["spec"]["selector"].to_string(), r#"{"a":"b"}"#);
}

#[test]
fn what_a_pod_may_change() {
    let with = |inner: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","spec":{{"containers":[{{"name":"c","image":"i:1"}}],"restartPolicy":"Never",{inner}}}}}"#
        )
    };
    let old = with(r#""nodeSelector":{"a":"b"}"#);
    check(&update_errors(&old, &old.replace("i:1", "i:2")), &[]);
    check(
        &update_errors(&old, &with(r#""nodeSelector":{"a":"b"},"tolerations":[{"operator":"Exists"}]"#)),
        &[],
    );
    let found = update_errors(&old, &with(r#""nodeSelector":{"a":"c"}"#));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with(
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
        ),
        "{}",
        found[0]
    );
    assert!(found[0].contains("-  \"a\": \"b\"\n+  \"a\": \"c\"\n"), "{}", found[0]);
    let (gated, free) = (with(r#""schedulingGates":[{"name":"g"}]"#), with(r#""nodeSelector":{"x":"y"}"#));
    check(&update_errors(&gated, &free), &[]);
    check(
        &update_errors(&free, &with(r#""nodeSelector":{"x":"y"},"schedulingGates":[{"name":"g"}]"#)),
        &[
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'",
        ],
    );
}

#[test]
fn services() {
    check(&service(r#"{"ports":[{"port":80}],"selector":{"a":"b"}}"#), &[]);
    check(
        &service(r#"{"ports":[{"port":0},{"port":80,"name":"b","targetPort":"-x-"}]}"#),
        &[
            "spec.ports[0].name: Required value",
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            r#"spec.ports[1].targetPort: Invalid value: "-x-": must not begin or end with a hyphen"#,
        ],
    );
    check(
        &service(r#"{"ports":[{"port":80}],"externalTrafficPolicy":"Local","loadBalancerClass":"x"}"#),
        &[
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
            r#"spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services"#,
        ],
    );
    check(
        &service(r#"{"ports":[{"port":80}],"clusterIP":"None","externalIPs":["169.254.1.1"]}"#),
        &[
            r#"spec.externalIPs[0]: Invalid value: "169.254.1.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)"#,
        ],
    );
    let old = r#"{"apiVersion":"v1","kind":"Service","spec":{"clusterIP":"10.0.0.1","type":"NodePort","ports":[{"port":80,"nodePort":30001}]}}"#;
    let ((kind, stored), (_, mut new)) = (
        prepared(old),
        prepared(r#"{"apiVersion":"v1","kind":"Service","spec":{"type":"NodePort","ports":[{"port":80}]}}"#),
    );
    (kind.rules.prepare_update)(&mut new, &stored, &CONTEXT);
    assert_eq!(new["spec"]["clusterIPs"].to_string(), r#"["10.0.0.1"]"#);
    assert_eq!(new["spec"]["ports"][0]["nodePort"].as_i64(), Some(30001));
    check(
        &update_errors(old, &old.replace("10.0.0.1", "10.0.0.2")),
        &[r#"spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set"#],
    );
}

#[test]
fn workloads() {
    let deployment = |inner: &str| {
        format!(
            r#"{{"apiVersion":"apps/v1","kind":"Deployment","spec":{{"selector":{{"matchLabels":{{"a":"b"}}}},"template":{{"metadata":{{"labels":{{"a":"b"}}}},"spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}{inner}}}}}"#
        )
    };
    check(&errors(&deployment("")), &[]);
    check(
        &errors(&deployment(r#","strategy":{"type":"Recreate","rollingUpdate":{}}"#)),
        &["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
    );
    check(
        &update_errors(&deployment(""), &deployment("").replace(r#""b""#, r#""c""#)),
        &[r#"spec.selector: Invalid value: {"matchLabels":{"a":"c"}}: field is immutable"#],
    );
    let job = r#"{"apiVersion":"batch/v1","kind":"Job","spec":{"completionMode":"Indexed","template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}"#;
    let (_, made) = prepared(job);
    assert_eq!(made["spec"]["completions"].as_i64(), Some(1));
    assert_eq!(
        made["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"].str_or_empty(),
        "u"
    );
    check(&errors(job), &[]);
    check(
        &errors(&job.replace(r#""completionMode":"Indexed""#, r#""maxFailedIndexes":1"#)),
        &["spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"],
    );
    check(
        &errors(
            r#"{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"this-name-is-much-too-long-for-the-jobs-of-a-cron-job"},"spec":{"schedule":"TZ=UTC * * * * *","jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}}}"#,
        ),
        &[
            r#"spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"#,
            r#"metadata.name: Invalid value: "this-name-is-much-too-long-for-the-jobs-of-a-cron-job": must be no more than 52 characters"#,
        ],
    );
}

#[test]
fn configuration() {
    check(
        &errors(
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"-":"ok"},"annotations":{"UPPER/case":"ok"}},"data":{".":"x"}}"#,
        ),
        &[
            r#"metadata.labels: Invalid value: "-": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#,
            r#"data[.]: Invalid value: ".": must not be '.'"#,
        ],
    );
    let (_, mut secret) = prepared(
        r#"{"apiVersion":"v1","kind":"Secret","data":{"a":"eA==","b":"eA=="},"stringData":{"b":"y"}}"#,
    );
    let builtin = schema::builtin();
    normal::normalize(builtin, builtin.find("core/v1.Secret").unwrap(), &mut secret);
    assert_eq!(secret["data"].to_string(), r#"{"a":"eA==","b":"eQ=="}"#);
    assert_eq!(secret["type"].str_or_empty(), "Opaque");
    let frozen = r#"{"apiVersion":"v1","kind":"Secret","data":{"a":"eA=="},"immutable":true}"#;
    check(
        &update_errors(frozen, &frozen.replace("eA==", "eQ==")),
        &["data: Forbidden: field is immutable when `immutable` is set"],
    );
    check(
        &errors(
            r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"a:b"},"rules":[{"verbs":[],"nonResourceURLs":["/x"]}]}"#,
        ),
        &[
            "rules[0].verbs: Required value: verbs must contain at least one value",
            r#"rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs"#,
        ],
    );
    let binding = r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","roleRef":{"kind":"ClusterRole","name":"x"},"subjects":[{"kind":"User","name":"u"}]}"#;
    check(&errors(binding), &[]);
    check(
        &update_errors(binding, &binding.replace(r#""x""#, r#""y""#)),
        &[
            r#"roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"y"}: cannot change roleRef"#,
        ],
    );
}

#[test]
fn nodes_and_namespaces() {
    let (_, namespace) = prepared(r#"{"apiVersion":"v1","kind":"Namespace"}"#);
    assert_eq!(namespace["metadata"]["labels"].to_string(), r#"{"kubernetes.io/metadata.name":"a"}"#);
    assert_eq!(namespace["spec"]["finalizers"].to_string(), r#"["kubernetes"]"#);
    let node = |cidr: &str| format!(r#"{{"apiVersion":"v1","kind":"Node","spec":{{"podCIDR":"{cidr}"}}}}"#);
    let (_, made) = prepared(&node("10.0.0.0/24"));
    assert_eq!(made["spec"]["podCIDRs"].to_string(), r#"["10.0.0.0/24"]"#);
    check(
        &update_errors(&node("10.0.0.0/24"), &node("10.0.1.0/24")),
        &[r#"spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid"#],
    );
}

#[test]
fn generations_count_what_is_desired() {
    let deployment = |annotation: &str| {
        format!(
            r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"a","annotations":{{"k":"{annotation}"}}}},"spec":{{"selector":{{"matchLabels":{{"a":"b"}}}},"template":{{"metadata":{{"labels":{{"a":"b"}}}},"spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}}}}}"#
        )
    };
    let ((kind, old), (_, mut new)) = (prepared(&deployment("1")), prepared(&deployment("2")));
    (kind.rules.prepare_update)(&mut new, &old, &CONTEXT);
    assert_eq!(new["metadata"]["generation"].as_i64(), Some(2));
    let (_, mut same) = prepared(&deployment("1"));
    (kind.rules.prepare_update)(&mut same, &old, &CONTEXT);
    assert_eq!(same["metadata"]["generation"].as_i64(), Some(1));
}

#[test]
fn claims_follow_their_data_source_and_templates_do_not() {
    let spec = r#"{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}},"dataSource":{"kind":"PersistentVolumeClaim","name":"x"}}"#;
    let (_, claim) =
        prepared(&format!(r#"{{"apiVersion":"v1","kind":"PersistentVolumeClaim","spec":{spec}}}"#));
    assert_eq!(claim["spec"]["dataSourceRef"]["name"].str_or_empty(), "x");
    let (_, set) = prepared(&format!(
        r#"{{"apiVersion":"apps/v1","kind":"StatefulSet","spec":{{"volumeClaimTemplates":[{{"metadata":{{"name":"d"}},"spec":{spec}}}]}}}}"#
    ));
    assert!(set["spec"]["volumeClaimTemplates"][0]["spec"]["dataSourceRef"].is_null());
}

#[test]
fn events() {
    let event = |inner: &str| errors(&format!(r#"{{"apiVersion":"v1","kind":"Event",{inner}}}"#));
    check(&event(r#""involvedObject":{"kind":"Pod","namespace":"default","name":"p"}"#), &[]);
    check(
        &event(r#""involvedObject":{"kind":"Pod","namespace":"other","name":"p"}"#),
        &[r#"involvedObject.namespace: Invalid value: "other": does not match event.namespace"#],
    );
    check(
        &event(
            r#""involvedObject":{"namespace":"other"},"eventTime":"2026-01-02T03:04:05.000006Z","reportingComponent":"c","action":"A","reason":"R""#,
        ),
        &["reportingInstance: Required value"],
    );
}
