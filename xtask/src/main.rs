//! Development tasks that write committed files: `cargo xtask schema ...`.
//!
//! ```text
//! cargo xtask schema --fields fields-1.36.tsv --openapi openapi-v3/ [--check]
//! ```
//!
//! Nothing here runs in a build: what it writes is committed and reviewed like code.

mod schema;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "usage: cargo xtask schema --fields <fields.tsv> [--openapi <folder of OpenAPI v3 documents>] \
                     [--overlay <overlay.tsv>] [--out <table>] [--check]";

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("schema") => schema_command(args),
        _ => bail!(USAGE),
    }
}

fn schema_command(mut args: impl Iterator<Item = String>) -> Result<()> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../api/schema");
    let (mut fields, mut openapi, mut check) = (None, None, false);
    let (mut overlay, mut out) = (folder.join("overlay.tsv"), folder.join("1.36.tsv"));
    while let Some(arg) = args.next() {
        let mut path = || args.next().map(PathBuf::from).with_context(|| format!("{arg} needs a path"));
        match arg.as_str() {
            "--fields" => fields = Some(path()?),
            "--openapi" => openapi = Some(path()?),
            "--overlay" => overlay = path()?,
            "--out" => out = path()?,
            "--check" => check = true,
            other => bail!("unknown argument {other:?}\n{USAGE}"),
        }
    }
    let fields = fields.context("--fields is required")?;
    let table = schema::table(&fields, openapi.as_deref(), &overlay)?;
    if check {
        let committed = std::fs::read_to_string(&out).with_context(|| format!("read {}", out.display()))?;
        if committed != table {
            bail!("{} is not what these inputs give: run without --check", out.display());
        }
        return Ok(());
    }
    std::fs::write(&out, &table).with_context(|| format!("write {}", out.display()))?;
    println!("{}: {} bytes, {} lines", out.display(), table.len(), table.lines().count());
    Ok(())
}
