//! Three member processes under a sustained load of writes, with purging and snapshots, while
//! followers are killed and come back into snapshots. At the end the members' state hashes are
//! compared.
//!
//! ```text
//! cargo run --release -p trireme-raft --example stress -- [seconds] [proposers] [value bytes]
//!     [log bytes between flushes] [seconds between kills; 0: none] [leader|follower|any]
//! ```

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use trireme_raft::{Certificates, Limits, Replica, ReplicaConfig, Role, Tls};
use trireme_store::engine::{RocksEngine, RocksOptions};
use trireme_store::{Kv, Op, PutRequest, TxnRequest};

const MEMBERS: usize = 3;
/// How long the members may take to become equal once the load has stopped.
const SETTLE: Duration = Duration::from_secs(120);

#[derive(Clone)]
struct Plan {
    seconds: u64,
    proposers: usize,
    value_bytes: usize,
    flush_log_bytes: u64,
    kill_every_s: u64,
    victims: String,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "member") {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(member(&args[1..]));
        return;
    }
    let number = |i: usize, default: u64| args.get(i).map_or(default, |arg| arg.parse().expect("a number"));
    let plan = Plan {
        seconds: number(0, 60),
        proposers: number(1, 64) as usize,
        value_bytes: number(2, 1024) as usize,
        flush_log_bytes: number(3, 64 << 20),
        kill_every_s: number(4, 15),
        victims: args.get(5).cloned().unwrap_or_else(|| "follower".into()),
    };
    supervise(&plan);
}

/// What a member says on its standard output.
enum Said {
    Wrote { member: usize, count: u64, unknown: u64, role: String, line: String },
    Hash { member: usize, text: String },
}

struct Process {
    child: Child,
}

fn supervise(plan: &Plan) {
    let dir = std::env::temp_dir().join(format!("trireme-stress-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    write_certificates(&dir);
    let ports: Vec<u16> = (0..MEMBERS).map(|_| free_port()).collect();
    let (said, says) = mpsc::channel();
    let start = |i: usize| start_member(i, &dir, &ports, plan, said.clone());
    let mut members: Vec<Option<Process>> = (0..MEMBERS).map(|i| Some(start(i))).collect();
    let begun = Instant::now();
    let mut leader = 0;
    let mut total = 0;
    let mut unknown_total = 0;
    let mut kills = 0;
    let mut deaths = 0;
    let mut dead: Option<(usize, Instant)> = None;
    let mut next_kill = begun + Duration::from_secs(plan.kill_every_s.max(1));
    while begun.elapsed() < Duration::from_secs(plan.seconds) {
        if let Ok(Said::Wrote { member, count, unknown, role, line }) =
            says.recv_timeout(Duration::from_millis(200))
        {
            total += count;
            unknown_total += unknown;
            if role == "leader" {
                leader = member;
                println!(
                    "{:5.1} s  member {member}  {count:6} writes/s  {line}",
                    begun.elapsed().as_secs_f32()
                );
            }
        }
        for (i, process) in members.iter_mut().enumerate() {
            if let Some(running) = process
                && let Ok(Some(status)) = running.child.try_wait()
            {
                deaths += 1;
                println!(
                    "member {i} DIED by itself: {status}; see {}",
                    dir.join(format!("m{i}.log")).display()
                );
                *process = Some(start(i));
            }
        }
        if let Some((i, at)) = dead
            && at.elapsed() > Duration::from_secs(plan.kill_every_s.div_ceil(2).max(2))
        {
            println!("{:5.1} s  member {i} comes back", begun.elapsed().as_secs_f32());
            members[i] = Some(start(i));
            dead = None;
        }
        if plan.kill_every_s > 0 && dead.is_none() && Instant::now() > next_kill {
            let victim = match plan.victims.as_str() {
                "leader" => leader,
                "any" => kills % MEMBERS,
                _ => (leader + 1 + kills % 2) % MEMBERS,
            };
            if let Some(mut process) = members[victim].take() {
                println!("{:5.1} s  member {victim} is killed", begun.elapsed().as_secs_f32());
                let _ = process.child.kill();
                let _ = process.child.wait();
                kills += 1;
                dead = Some((victim, Instant::now()));
                next_kill = Instant::now() + Duration::from_secs(plan.kill_every_s);
            }
        }
    }
    if let Some((i, _)) = dead {
        members[i] = Some(start(i));
    }
    println!("stopping the load; the members settle");
    for process in members.iter_mut().flatten() {
        if let Some(stdin) = &mut process.child.stdin {
            let _ = stdin.write_all(b"stop\n");
        }
    }
    let equal = settle(&says);
    for process in members.iter_mut().flatten() {
        drop(process.child.stdin.take());
        let _ = process.child.wait();
    }
    println!(
        "{total} writes in {} s ({} per second), {unknown_total} of unknown outcome, {kills} kills, {deaths} deaths of their own; state hashes {}",
        plan.seconds,
        total / plan.seconds.max(1),
        if equal { "equal" } else { "DIFFER or were not reached" },
    );
    let good = equal && deaths == 0 && total > 0;
    if good && std::env::var_os("STRESS_KEEP").is_none() {
        let _ = std::fs::remove_dir_all(&dir);
    } else {
        println!("what the members logged and stored is in {}", dir.display());
    }
    std::process::exit(if good { 0 } else { 1 });
}

/// Whether all members came to say the same.
fn settle(says: &mpsc::Receiver<Said>) -> bool {
    let deadline = Instant::now() + SETTLE;
    let mut hashes: BTreeMap<usize, String> = BTreeMap::new();
    while Instant::now() < deadline {
        if let Ok(Said::Hash { member, text }) = says.recv_timeout(Duration::from_millis(200)) {
            hashes.insert(member, text);
            let first = hashes.values().next().cloned();
            if hashes.len() == MEMBERS && hashes.values().all(|text| Some(text) == first.as_ref()) {
                println!("all members: {}", first.unwrap_or_default());
                return true;
            }
        }
    }
    println!("{hashes:?}");
    false
}

fn start_member(i: usize, dir: &Path, ports: &[u16], plan: &Plan, said: mpsc::Sender<Said>) -> Process {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join(format!("m{i}.log")));
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .arg("member")
        .arg(i.to_string())
        .arg(dir)
        .arg(ports.iter().map(u16::to_string).collect::<Vec<_>>().join(","))
        .arg(plan.proposers.to_string())
        .arg(plan.value_bytes.to_string())
        .arg(plan.flush_log_bytes.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log.expect("a log file"))
        .spawn()
        .expect("a member starts");
    let out = child.stdout.take().expect("piped");
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let message = match words[..] {
                ["wrote", count, unknown, role, ..] => Said::Wrote {
                    member: i,
                    count: count.parse().unwrap_or(0),
                    unknown: unknown.parse().unwrap_or(0),
                    role: role.into(),
                    line: words[4..].join(" "),
                },
                ["hash", ..] => Said::Hash { member: i, text: words[1..].join(" ") },
                _ => continue,
            };
            if said.send(message).is_err() {
                return;
            }
        }
    });
    Process { child }
}

async fn member(args: &[String]) {
    let number = |i: usize| args[i].parse::<u64>().expect("a number");
    let i = number(0) as usize;
    let dir = PathBuf::from(&args[1]);
    let ports: Vec<&str> = args[2].split(',').collect();
    let read = |name: &str| std::fs::read(dir.join(name)).expect("a certificate");
    let tls = Tls::new(&Certificates { ca_pem: read("ca"), cert_pem: read("cert"), key_pem: read("key") });
    let open = |path: &Path| {
        let engine = RocksEngine::open(path, RocksOptions::default())?;
        Ok(Arc::new(engine) as Arc<dyn trireme_store::engine::Engine>)
    };
    let name = format!("m{i}");
    let mut config = ReplicaConfig::new(dir.join(&name), "stress", &name, tls.expect("TLS"), Arc::new(open));
    let address = |port: &str| format!("127.0.0.1:{port}");
    config.peer_address = address(ports[i]);
    config.initial_members =
        ports.iter().enumerate().map(|(i, port)| (format!("m{i}"), address(port))).collect();
    let flush_log_bytes = number(5);
    let log_segment_bytes = (flush_log_bytes / 4).clamp(1 << 20, 64 << 20);
    config.limits =
        Limits { flush_log_bytes, log_keep_bytes: flush_log_bytes, log_segment_bytes, ..Limits::default() };
    let listener = TcpListener::bind(&config.peer_address).expect("the port is free");
    let replica = Replica::start(config, listener).await.expect("the member starts");

    let load = Arc::new(AtomicBool::new(true));
    let (stop, proposers, value_bytes) = (load.clone(), number(3) as usize, number(4) as usize);
    std::thread::spawn(move || {
        let mut line = String::new();
        while std::io::stdin().read_line(&mut line).is_ok_and(|n| n > 0) {
            stop.store(false, Ordering::Relaxed);
        }
        std::process::exit(0);
    });
    let wrote = Arc::new(AtomicU64::new(0));
    let unknown = Arc::new(AtomicU64::new(0));
    for p in 0..proposers {
        let (replica, load, wrote, unknown) = (replica.clone(), load.clone(), wrote.clone(), unknown.clone());
        tokio::spawn(async move { propose(&replica, i, p, value_bytes, &load, &wrote, &unknown).await });
    }
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let status = replica.status();
        println!(
            "wrote {} {} {} term {} index {} applied {} purged {} log {} MiB db {} MiB syncs {}",
            wrote.swap(0, Ordering::Relaxed),
            unknown.swap(0, Ordering::Relaxed),
            status.role.as_str(),
            status.term,
            status.last_log_index,
            status.applied_index,
            status.purged_index,
            status.log_bytes >> 20,
            status.db_size_bytes >> 20,
            status.log_syncs,
        );
        if !load.load(Ordering::Relaxed) {
            let applied = replica.store().applied();
            println!("hash {:?} {} {:032x}", applied.position, applied.revision, applied.hash);
        }
    }
}

/// Writes while this member leads.
async fn propose(
    replica: &Replica,
    member: usize,
    proposer: usize,
    value_bytes: usize,
    load: &AtomicBool,
    wrote: &AtomicU64,
    unknown: &AtomicU64,
) {
    let value = vec![proposer as u8; value_bytes];
    let mut n = 0u64;
    while load.load(Ordering::Relaxed) {
        if n.is_multiple_of(256) && replica.status().role != Role::Leader {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let key = format!("/stress/{member}/{proposer}/{}", n % 500);
        let put = TxnRequest {
            success: vec![Op::Put(PutRequest::new(key, value.clone()))],
            ..TxnRequest::default()
        };
        match replica.txn(put).await {
            Ok(_) => {
                wrote.fetch_add(1, Ordering::Relaxed);
            }
            Err(trireme_store::Error::OutcomeUnknown) => {
                unknown.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        n += 1;
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn write_certificates(dir: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let ca = params.self_signed(&key).expect("a CA").pem();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).expect("a name");
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = params.signed_by(&leaf_key, &issuer).expect("a certificate").pem();
    for (name, pem) in [("ca", ca), ("cert", leaf), ("key", leaf_key.serialize_pem())] {
        std::fs::write(dir.join(name), pem).expect("a file");
    }
}
