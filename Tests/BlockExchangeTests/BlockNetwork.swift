// Bitswap engines in one process under one seed: a queue of messages with delay, a store for each, peers that corrupt,
// stall or lose. Replays identically.

import Primitives

@testable import BlockExchange

struct BlockNetwork {
    private struct Flight {
        let at: Instant
        let order: UInt64
        let from: Int
        let to: Int
        let bytes: [UInt8]
    }

    let ids: [PeerID]
    var engines: [Bitswap]
    var stores: [[CID: [UInt8]]]
    var now = Instant.start
    var faults: [(at: Int, who: PeerID, fault: BitswapFault)] = []
    var unavailable: [CID] = []
    var damaged: [CID] = []
    /// Blocks delivered to sessions, with their sender, in order.
    var received: [[(block: Block, from: PeerID)]]
    /// What becomes of a message: nil is lost.
    var tamper: (Int, Int, [UInt8]) -> [UInt8]? = { _, _, bytes in bytes }
    var fetches: [Int: (session: SessionID, fetch: Fetch)] = [:]
    var results: [Int: FetchEffect] = [:]
    var files: [Int: [FilePosition: [UInt8]]] = [:]
    var looked = 0
    var sentBytes: [[Int]: Int] = [:]
    /// The last is the next to arrive.
    private var flights: [Flight] = []
    private var lastArrival: [[Int]: Instant] = [:]
    private var order: UInt64 = 0
    private var random: SeededRandom

    init(count: Int, seed: UInt64, parameters: BitswapParameters = BitswapParameters()) throws {
        random = SeededRandom(seed: seed)
        var ids: [PeerID] = []
        for index in 0..<count {
            ids.append(try SigningKey(seed: Digest(sha256: Array("peer \(index)".utf8)).bytes).publicKey.peerID)
        }
        self.ids = ids
        engines = ids.map { _ in Bitswap(parameters: parameters) }
        stores = ids.map { _ in [:] }
        received = ids.map { _ in [] }
    }

    mutating func connect(_ left: Int, _ right: Int) {
        feed(left, .connected(ids[right]))
        feed(right, .connected(ids[left]))
    }

    mutating func disconnect(_ left: Int, _ right: Int) {
        flights.removeAll { ($0.from, $0.to) == (left, right) || ($0.from, $0.to) == (right, left) }
        feed(left, .disconnected(ids[right]))
        feed(right, .disconnected(ids[left]))
    }

    mutating func keep(_ blocks: [Block], at index: Int) {
        for block in blocks { stores[index][block.cid] = block.bytes }
    }

    mutating func feed(_ index: Int, _ event: BitswapEvent) {
        for effect in engines[index].handle(event, now: now) { perform(effect, at: index) }
    }

    mutating func startFetch(_ root: CID, at index: Int, from peers: [Int], parameters: FetchParameters = .init()) {
        let session = SessionID(UInt64(index))
        fetches[index] = (session, Fetch(root: root, parameters: parameters))
        files[index] = [:]
        results[index] = nil
        feed(index, .providers(session, peers.map { ids[$0] }))
        feedFetch(index, .start)
    }

    mutating func feedFetch(_ index: Int, _ event: FetchEvent) {
        guard let effects = fetches[index]?.fetch.handle(event) else { return }
        for effect in effects { perform(effect, at: index) }
    }

    private mutating func perform(_ effect: FetchEffect, at index: Int) {
        switch effect {
        case .look(let cid, let needsBytes):
            looked += 1
            let bytes = stores[index][cid]
            feedFetch(index, .local(cid, bytes.map { needsBytes ? .bytes($0) : .present } ?? .absent))
        case .want(let cids): feed(index, .want(SessionID(UInt64(index)), cids))
        case .store(let block):
            stores[index][block.cid] = block.bytes
            feed(index, .stored([block.cid]))
        case .place(let cid, let position, _, let bytes): files[index]?[position] = bytes ?? stores[index][cid]
        case .unfinished: feedFetch(index, .proceed)
        case .progress: break
        case .done, .failed:
            results[index] = effect
            feed(index, .close(SessionID(UInt64(index))))
        }
    }

    private mutating func perform(_ effect: BitswapEffect, at index: Int) {
        switch effect {
        case .send(let peer, let bytes):
            guard let to = ids.firstIndex(of: peer), let bytes = tamper(index, to, bytes) else { return }
            sentBytes[[index, to], default: 0] += bytes.count
            var at = now + .milliseconds(5 + random.below(20))
            at = max(at, lastArrival[[index, to]] ?? .start)
            lastArrival[[index, to]] = at
            order += 1
            insert(Flight(at: at, order: order, from: index, to: to, bytes: bytes))
        case .block(_, let block, let from):
            received[index].append((block, from))
            if fetches[index] != nil { feedFetch(index, .block(block)) }
        case .load(let cid, let peer): feed(index, .loaded(cid, stores[index][cid], for: peer))
        case .find(let cid, let peer): feed(index, .found(cid, stores[index][cid] != nil, for: peer))
        case .unavailable(_, let cid): unavailable.append(cid)
        case .damaged(let cid): damaged.append(cid)
        case .fault(let who, let fault): faults.append((index, who, fault))
        case .refused: break
        }
    }

    private mutating func insert(_ flight: Flight) {
        var (low, high) = (0, flights.count)
        while low < high {
            let middle = (low + high) / 2
            if flights[middle].at > flight.at { low = middle + 1 } else { high = middle }
        }
        flights.insert(flight, at: low)
    }

    /// Messages, and a tick a second, for `span`; ends early when `until` holds.
    mutating func run(for span: Span, until: (BlockNetwork) -> Bool = { _ in false }) {
        let end = now + span
        var nextTick = now + .seconds(1)
        while !until(self) {
            let next = flights.last
            if let next, next.at <= min(nextTick, end) {
                flights.removeLast()
                now = max(now, next.at)
                feed(next.to, .received(ids[next.from], next.bytes))
            } else if nextTick <= end {
                now = nextTick
                for index in engines.indices { feed(index, .tick) }
                nextTick = nextTick + .seconds(1)
            } else {
                now = end
                return
            }
        }
    }

    /// The file that came, put together from its places.
    func content(at index: Int, file: Int = 0) -> [UInt8] {
        (files[index] ?? [:]).filter { $0.key.file == file }.sorted { $0.key < $1.key }.flatMap(\.value)
    }
}

/// Bytes that no two places share: byte i of the fixture files.
func fixtureContent(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 * 7 + $0 / 256) } }

func randomContent(_ count: Int, seed: UInt64) -> [UInt8] {
    var random = SeededRandom(seed: seed)
    return random.bytes(count)
}
