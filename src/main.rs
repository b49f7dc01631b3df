//! The `ringmesh` program.
#![forbid(unsafe_code)]
use ring::Ring;
use std::sync::Arc;
use std::time::Duration;
fn main() {
    let mut port = 4222; let mut busy = ring::uring::BusyPoll::Auto; let mut shards = 1u16;
    let mut args = std::env::args().skip(1);
    while let Some(a) = args.next() {
        match a.as_str() {
            "-p" => port = args.next().unwrap().parse().unwrap(),
            "-a" => { args.next(); }
            "--shards" => shards = args.next().unwrap().parse().unwrap(),
            "--busy_poll" => busy = match args.next().unwrap().as_str() { "always" => ring::uring::BusyPoll::Always, "off" => ring::uring::BusyPoll::Off, _ => ring::uring::BusyPoll::Auto },
            _ => {}
        }
    }
    let _ = ring::uring::raise_descriptor_limit();
    let (listener, at) = ring::uring::listen(([127,0,0,1], port).into()).unwrap();
    eprintln!("listening {at}");
    let info = ringmesh::proto::info::ServerInfo { server_id: "NX".into(), server_name: "NX".into(), host: "127.0.0.1".into(), port, headers: true, max_payload: 1<<20, ..Default::default() };
    let options = Arc::new(ringmesh::engine::EngineOptions {
        limits: ringmesh::engine::ClientLimits { max_payload: 1<<20, max_control_line: 4096, max_connections: 65536, max_subscriptions: 0, max_sub_tokens: 0 },
        outbound: ringmesh::outbound::OutboundLimits { max_pending: 64<<20, write_deadline: Duration::from_secs(10) },
        max_pending_total: 4<<30, ping_interval: Duration::from_secs(120), ping_max: 2,
        auth: Arc::new(ringmesh::auth::Authenticator::new(ringmesh::auth::AuthConfig { method: Default::default(), no_auth_user: None, timeout: Duration::from_secs(2) })), auth_timeout: Duration::from_secs(2), headers: true,
        info: ringmesh::proto::info::InfoTemplate::new(&info), drop_for_slow: false, max_closed: 10000, sublist_cache: true });
    let shared = Arc::new(ringmesh::engine::Shared::default());
    let (boxes, _controls) = ringmesh::mailbox::connect(shards);
    let (tx, _rx) = std::sync::mpsc::channel();
    let bells = Arc::new(std::sync::Mutex::new(vec![]));
    let gate = Arc::new(std::sync::Barrier::new(usize::from(shards)));
    let threads: Vec<_> = boxes.into_iter().map(|mut mail| {
        let (options, shared, tx, bells, gate) = (options.clone(), shared.clone(), tx.clone(), bells.clone(), gate.clone());
        std::thread::spawn(move || {
            let mut uring = ring::uring::Uring::new(ring::uring::UringOptions { busy_poll: busy }).unwrap();
            bells.lock().unwrap().push((mail.shard, uring.doorbell()));
            gate.wait();
            for (s, b) in bells.lock().unwrap().iter() { if *s != mail.shard { mail.set_bell(*s, b.clone()); } }
            let id = mail.shard;
            let seed = uring.random_seed();
            let now = uring.now();
            let engine = ringmesh::engine::Engine::new(options, shared, mail, tx, seed, now);
            let mut shard = ringmesh::shard::Shard::new(uring, engine);
            if id == 0 { shard.listen(listener, shards); }
            shard.run().unwrap();
        })
    }).collect();
    for t in threads { t.join().unwrap(); }
}
