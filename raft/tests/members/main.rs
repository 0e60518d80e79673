//! Whole members in one process, over real sockets and disks. One program, since each that runs a
//! member takes a minute to compile.

mod cluster;
mod cut_off;
mod divergence;
mod face;
mod limited;
mod many_leases;
mod membership;
mod metrics;
mod no_room;
mod old_copy;
mod operators;
mod pb;
mod peer_port;
mod processes;
mod reborn;
mod refusals;
mod replicas;
mod side_by_side;
mod slow_disk;
mod snapshot_file;
mod streams;
mod suite;
mod upgrade;
