//! Rules of updates through a subresource other than `status`.

use super::{Context, Kind, certificates, core};
use crate::field_error::ErrorList;
use crate::tree::Value;

/// How an update through one subresource is prepared and checked.
#[derive(Clone, Copy, Debug)]
pub struct Through {
    /// Keeps everything of `old` but what the subresource is for.
    pub prepare: fn(new: &mut Value, old: &Value, &Context<'_>),
    pub validate: fn(new: &Value, old: &Value) -> ErrorList,
}

impl Kind {
    /// The rules of an update through `subresource`; `None` where it has none of its own.
    pub fn through(&self, subresource: &str) -> Option<Through> {
        match (self.group, self.kind, subresource) {
            ("", "Pod", "resize") => Some(core::pod::RESIZE),
            ("", "Pod", "ephemeralcontainers") => Some(core::pod::EPHEMERAL_CONTAINERS),
            ("", "Namespace", "finalize") => Some(core::namespace::FINALIZE),
            ("certificates.k8s.io", "CertificateSigningRequest", "approval") => {
                Some(certificates::certificate_signing_request::APPROVAL)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    const CONTEXT: Context<'static> = Context { now: "2026-01-02T03:04:05Z", user: "u", dry_run: false };

    fn pod(cpu: &str, image: &str) -> Value {
        let mut pod = value!({
            "metadata": {"name": "a", "namespace": "b", "uid": "1", "resourceVersion": "1", "generation": 1},
            "spec": {"containers": [{"name": "c", "image": image, "resources": {"requests": {"cpu": cpu}}}]},
        });
        (core::pod::KIND.hub().default)(&mut pod);
        pod
    }

    #[test]
    fn a_resize_takes_resources_and_nothing_else() {
        let old = pod("1", "i:1");
        let mut new = pod("2", "other:1");
        let through = core::pod::KIND.through("resize").unwrap();
        (through.prepare)(&mut new, &old, &CONTEXT);
        let c = &new["spec"]["containers"][0];
        assert_eq!(c["image"], value!("i:1"));
        assert_eq!(c["resources"]["requests"]["cpu"], value!("2"));
        assert_eq!(new["metadata"]["generation"], value!(2));
        assert_eq!((through.validate)(&new, &old), ErrorList::new());
    }

    #[test]
    fn ephemeral_containers_stay_once_there() {
        let with = |name: &str| {
            let mut p = pod("1", "i:1");
            let ephemeral = value!([{"name": name, "image": "debug:1", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}]);
            p.make(&["spec"]).set("ephemeralContainers", ephemeral);
            p
        };
        let through = core::pod::KIND.through("ephemeralcontainers").unwrap();
        let (old, mut new) = (pod("1", "i:1"), with("d"));
        (through.prepare)(&mut new, &old, &CONTEXT);
        assert_eq!((through.validate)(&new, &old), ErrorList::new());
        let mut other = with("e");
        (through.prepare)(&mut other, &new, &CONTEXT);
        let errs = (through.validate)(&other, &new);
        assert_eq!(errs.len(), 1, "{errs:?}");
        assert!(errs[0].detail.contains("may not be removed"));
    }
}
