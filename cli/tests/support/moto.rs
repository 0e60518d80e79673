//! A stock S3-compatible server, moto's, which `deploy/packages.sh test` installs; with a bucket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::eventually;

const VERSION: &str = "5.2.5";
const BUCKET: &str = "backups";

/// Ended when dropped.
pub(crate) struct Moto {
    child: Child,
    port: u16,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `$TRIREME_MOTO`, or where it is installed.
fn program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("TRIREME_MOTO") {
        return Some(program.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join(format!("trireme/moto-{VERSION}/bin/moto_server")))
}

impl Moto {
    /// `None`, and said, where it is not installed.
    pub(crate) fn start() -> Option<Moto> {
        let program = program()?;
        if !program.exists() {
            let name = std::thread::current().name().unwrap_or("?").to_owned();
            let told = format!("skipped: {name}: {} is not here\n", program.display());
            let _ = std::io::stderr().write_all(told.as_bytes());
            return None;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("run moto_server");
        let moto = Moto { child, port };
        eventually("a bucket", || moto.make_bucket().map_err(|error| error.to_string()));
        Some(moto)
    }

    fn make_bucket(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(stream, "PUT /{BUCKET} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        if answer.ends_with(b"200") { Ok(()) } else { Err(std::io::Error::other("no bucket was made")) }
    }

    pub(crate) fn location(&self) -> String {
        format!("s3://{BUCKET}/of/this")
    }

    /// A file that gives the endpoint and who asks.
    pub(crate) fn credentials(&self, path: &Path) {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path).expect("a file");
        let port = self.port;
        write!(
            file,
            "AWS_ENDPOINT=http://127.0.0.1:{port}\nAWS_ALLOW_HTTP=true\nAWS_REGION=here\n\
             AWS_ACCESS_KEY_ID=keeper\nAWS_SECRET_ACCESS_KEY=not-a-secret\n"
        )
        .expect("write");
    }
}
