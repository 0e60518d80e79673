//! Kubeconfig files, as far as a cluster of ours writes them: certificates and tokens, inline or
//! in files. Exec plugins and auth providers are refused by name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use serde::Deserialize;

use crate::http_transport::{Http, HttpConfig, Token};
use crate::tls::{self, Identity, TlsError};
use crate::transport::Error;

#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: not a kubeconfig: {message}")]
    Parse { path: PathBuf, message: String },
    #[error("the kubeconfig has no {what} named {name:?}")]
    Missing { what: &'static str, name: String },
    #[error("{0} is not base64")]
    Base64(&'static str),
    #[error("{0} is not supported here: use a client certificate or a token")]
    Unsupported(&'static str),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Client(#[from] Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}
#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    namespace: Option<String>,
}
#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
}
#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: User,
}
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    #[serde(default)]
    exec: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    auth_provider: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    username: Option<String>,
}

/// One context of a kubeconfig, its files read. Has no `Debug`: it holds keys.
pub struct Kubeconfig {
    pub server: String,
    pub namespace: Option<String>,
    pub server_name: Option<String>,
    pub ca: Vec<u8>,
    certificate_and_key: Option<(Vec<u8>, Vec<u8>)>,
    token: Option<String>,
}

impl Kubeconfig {
    /// The current context of `path`, or the one named.
    pub fn load(path: &Path, context: Option<&str>) -> Result<Kubeconfig, KubeconfigError> {
        let text = read(path)?;
        let text = String::from_utf8_lossy(&text);
        Self::parse(&text, path, context)
    }

    fn parse(text: &str, path: &Path, context: Option<&str>) -> Result<Kubeconfig, KubeconfigError> {
        let file: File = serde_saphyr::from_str(text)
            .map_err(|e| KubeconfigError::Parse { path: path.to_owned(), message: e.to_string() })?;
        let base = path.parent().unwrap_or(Path::new("."));
        let wanted = context.unwrap_or(&file.current_context);
        let context = file
            .contexts
            .into_iter()
            .find(|c| c.name == wanted)
            .ok_or_else(|| KubeconfigError::Missing { what: "context", name: wanted.to_owned() })?
            .context;
        let cluster = file
            .clusters
            .into_iter()
            .find(|c| c.name == context.cluster)
            .ok_or_else(|| KubeconfigError::Missing { what: "cluster", name: context.cluster.clone() })?
            .cluster;
        let user =
            file.users.into_iter().find(|u| u.name == context.user).map(|u| u.user).unwrap_or_default();
        if cluster.insecure_skip_tls_verify {
            return Err(KubeconfigError::Unsupported("insecure-skip-tls-verify"));
        }
        if user.exec.is_some() {
            return Err(KubeconfigError::Unsupported("exec"));
        }
        if user.auth_provider.is_some() {
            return Err(KubeconfigError::Unsupported("auth-provider"));
        }
        if user.username.is_some() {
            return Err(KubeconfigError::Unsupported("username"));
        }
        let ca = data_or_file(
            "certificate-authority-data",
            cluster.certificate_authority_data,
            cluster.certificate_authority,
            base,
        )?;
        let certificate = data_or_file(
            "client-certificate-data",
            user.client_certificate_data,
            user.client_certificate,
            base,
        )?;
        let key = data_or_file("client-key-data", user.client_key_data, user.client_key, base)?;
        let token = match (user.token, user.token_file) {
            (Some(token), _) => Some(token),
            (None, Some(file)) => Some(String::from_utf8_lossy(&read(&base.join(file))?).trim().to_owned()),
            (None, None) => None,
        };
        Ok(Kubeconfig {
            server: cluster.server,
            namespace: context.namespace,
            server_name: cluster.tls_server_name,
            ca: ca.unwrap_or_default(),
            certificate_and_key: certificate.zip(key),
            token,
        })
    }

    /// A transport to the context's server.
    pub fn transport(&self, user_agent: &str) -> Result<Arc<Http>, KubeconfigError> {
        let identity =
            self.certificate_and_key.as_ref().map(|(certificate, key)| Identity { certificate, key });
        Ok(Arc::new(Http::new(HttpConfig {
            endpoints: vec![self.server.clone()],
            tls: tls::client_config(&self.ca, identity)?,
            token: self.token.as_deref().map(Token::new),
            server_name: self.server_name.clone(),
            user_agent: user_agent.to_owned(),
        })?))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KubeconfigError> {
    std::fs::read(path).map_err(|source| KubeconfigError::Read { path: path.to_owned(), source })
}

fn data_or_file(
    field: &'static str,
    data: Option<String>,
    file: Option<PathBuf>,
    base: &Path,
) -> Result<Option<Vec<u8>>, KubeconfigError> {
    match (data, file) {
        (Some(data), _) => base64::engine::general_purpose::STANDARD
            .decode(data.trim())
            .map(Some)
            .map_err(|_| KubeconfigError::Base64(field)),
        (None, Some(file)) => read(&base.join(file)).map(Some),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
apiVersion: v1
kind: Config
current-context: a
contexts:
- {name: a, context: {cluster: c, user: u, namespace: ns}}
- {name: b, context: {cluster: c, user: x}}
- {name: d, context: {cluster: gone, user: u}}
clusters:
- {name: c, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: Y2E=}}
users:
- {name: u, user: {token: secret}}
- {name: x, user: {exec: {command: aws}}}
"#;

    #[test]
    fn contexts_are_followed_and_what_is_missing_is_named() {
        let parse = |context| Kubeconfig::parse(TEXT, Path::new("/dir/config"), context);
        let a = parse(None).ok().unwrap();
        assert_eq!((a.server.as_str(), a.namespace.as_deref()), ("https://127.0.0.1:6443", Some("ns")));
        assert_eq!((a.ca.as_slice(), a.token.as_deref()), (&b"ca"[..], Some("secret")));
        let message = |context| parse(Some(context)).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message("b").starts_with("exec is not supported"), "{}", message("b"));
        assert_eq!(message("d"), r#"the kubeconfig has no cluster named "gone""#);
        assert_eq!(message("z"), r#"the kubeconfig has no context named "z""#);
    }
}
