// Layers computed for others: the two halves of a session, the limits of each, and three nodes of which one computes with
// the help of the others and loses them.

import Ledger
import Primitives
import Records
import Testing

@testable import NodeCore

private let model = CID(.dagCBOR, hashing: [1])

private func request(_ layers: Range<Int> = 2..<5, pages: Int = 64) -> LayersRequest {
    LayersRequest(model: model, precision: "f32", numerics: 2, layers: layers, pages: pages)
}

/// `count` positions of one sequence from `start`, rows of two numbers each.
private func work(_ count: Int, start: Int = 0, seed: UInt8 = 1, copies: Int = 0) -> LayerWork {
    let pages = (start + count + 15) / 16
    return LayerWork(
        copies: (0..<copies).map { LayerWork.Copy(from: UInt32($0), to: UInt32($0 + 1)) },
        segments: [LayerWork.Segment(pages: (0..<pages).map { UInt32($0) }, start: start, count: count)],
        rows: (0..<count * 8).map { UInt8(truncatingIfNeeded: $0) &* seed })
}

/// What the layers of a stage do here: add one to each byte.
private func layered(_ rows: [UInt8], _ times: UInt8 = 1) -> [UInt8] { rows.map { $0 &+ times } }

@Suite struct LayerWorkTests {
    @Test func wireForms() throws {
        let messages: [LayersMessage] = [
            .open(request()), .opened(pages: 3, hidden: 2), .compute(step: 9, work(33, start: 7, copies: 3)),
            .computed(step: 9, rows: [1, 2, 3]), .refused(code: "busy", message: "no"),
        ]
        for message in messages {
            let bytes = message.encoded()
            #expect(try LayersMessage(decoding: bytes) == message)
            for length in bytes.indices {
                #expect(throws: CBORFault.self) { try LayersMessage(decoding: Array(bytes.prefix(length))) }
            }
            // Damage is refused or means something else; it never traps.
            for index in bytes.indices {
                for bit in 0..<8 {
                    var damaged = bytes
                    damaged[index] ^= 1 << UInt8(bit)
                    if let other = try? LayersMessage(decoding: damaged) { #expect(other != message) }
                }
            }
        }
        var long = work(1)
        long.rows = [UInt8](repeating: 0, count: LayerWork.rowsBytesMax + 1)
        #expect(throws: CBORFault.self) { try LayersMessage(decoding: LayersMessage.compute(step: 1, long).encoded()) }
        let gap = LayerWork(segments: [LayerWork.Segment(pages: [1], start: 16, count: 1)], rows: [])
        #expect(throws: CBORFault.self) { try LayersMessage(decoding: LayersMessage.compute(step: 1, gap).encoded()) }
    }

    /// However long a step is, its messages hold every position once, in order, each within the limits.
    @Test func longWorkIsCut() throws {
        let rowBytes = 300_000
        let segments = [(0, 5), (30, 1), (15, 9)].map { start, count in
            LayerWork.Segment(pages: (0..<(start + count + 15) / 16).map { UInt32($0) }, start: start, count: count)
        }
        let whole = LayerWork(
            copies: (0..<2500).map { LayerWork.Copy(from: $0, to: $0 + 1) }, segments: segments,
            rows: (0..<15 * rowBytes).map { UInt8(truncatingIfNeeded: $0 / rowBytes) })
        let messages = whole.messages(rowBytes: rowBytes)
        #expect(messages.flatMap(\.copies) == whole.copies && messages.flatMap(\.rows) == whole.rows)
        let positions = messages.flatMap { $0.segments.flatMap { Array($0.start..<$0.start + $0.count) } }
        #expect(positions == segments.flatMap { Array($0.start..<$0.start + $0.count) })
        // Copies come before any row.
        let firstRow = messages.firstIndex { !$0.rows.isEmpty } ?? 0
        #expect(messages[(firstRow + 1)...].allSatisfy { $0.copies.isEmpty })
        for (step, message) in messages.enumerated() {
            let wire = LayersMessage.compute(step: UInt64(step), message)
            #expect(try LayersMessage(decoding: wire.encoded()) == wire)
        }
        #expect(messages.count == 3 + 5 - 1)
    }

    @Test func theSameOffersGiveTheSameChain() throws {
        func peer(_ seed: UInt8) throws -> PeerID {
            try SigningKey(seed: [UInt8](repeating: seed, count: 32)).publicKey.peerID
        }
        let ids = try [peer(1), peer(2), peer(3), peer(4)].sorted()
        func offer(_ index: Int, _ layers: Range<Int>, queued: UInt64 = 0) -> LayerCover.Offer {
            LayerCover.Offer(peer: ids[index], layers: layers, queued: queued)
        }
        let offers = [offer(0, 0..<3), offer(1, 2..<8), offer(2, 3..<8), offer(3, 3..<6)]
        let cover = LayerCover(1..<8, offers)
        #expect(cover.missing == nil)
        #expect(cover.parts == [.init(peer: ids[0], layers: 1..<3), .init(peer: ids[1], layers: 3..<8)])
        #expect(LayerCover(1..<8, offers.reversed()) == cover)
        // Who has less to do goes first among those that reach as far.
        let busy = [offer(1, 0..<8, queued: 4), offer(2, 0..<9, queued: 1)]
        #expect(LayerCover(0..<8, busy).parts.map(\.peer) == [ids[2]])
        #expect(LayerCover(0..<9, [offer(0, 0..<3), offer(3, 5..<6)]).missing == 3..<5)
        #expect(LayerCover(4..<6, []).missing == 4..<6 && LayerCover(4..<4, []).missing == nil)
    }
}

@Suite struct LayerExchangeTests {
    private static let start = Instant.start

    /// An open pair.
    private func pair(_ pages: Int = 64) -> (LayersExchange, StageExchange) {
        var coordinator = LayersExchange(request(), now: Self.start), stage = StageExchange(now: Self.start)
        for case .send(let message) in coordinator.begin() {
            #expect(stage.received(message, now: Self.start) { _ in nil } == [.open(request())])
        }
        for case .send(let message) in stage.heard(.opened(pages: pages, hidden: 2), now: Self.start) {
            #expect(coordinator.received(message, now: Self.start) == [.opened(pages: pages, hidden: 2)])
        }
        return (coordinator, stage)
    }

    /// Carries what `actions` send to the stage and back; answers what the coordinator has in the end.
    private func run(
        _ first: [LayersAction], _ coordinator: inout LayersExchange, _ stage: inout StageExchange,
        tamper: (LayersMessage) -> LayersMessage = { $0 }
    ) -> [LayersAction] {
        var waiting = first, said: [LayersAction] = []
        while !waiting.isEmpty {
            guard case .send(let message) = waiting.removeFirst() else { continue }
            for action in stage.received(message, now: Self.start, refusal: { _ in nil }) {
                guard case .compute(let work) = action else { continue }
                for case .send(let reply) in stage.heard(.computed(rows: layered(work.rows)), now: Self.start) {
                    let actions = coordinator.received(tamper(reply), now: Self.start)
                    waiting += actions
                    said += actions.filter { if case .send = $0 { false } else { true } }
                }
            }
        }
        return said
    }

    @Test func aStepComesBackWhole() {
        var (coordinator, stage) = pair()
        for count in [1, 40, 200_000] {
            let asked = work(count)
            let said = run(coordinator.compute(asked, now: Self.start), &coordinator, &stage)
            #expect(said == [.computed(layered(asked.rows))])
        }
    }

    @Test func whatIsWrongEndsTheSession() {
        let harms: [(LayersMessage) -> LayersMessage] = [
            { if case .computed(let step, let rows) = $0 { .computed(step: step + 1, rows: rows) } else { $0 } },
            { if case .computed(let step, let rows) = $0 { .computed(step: step, rows: rows.dropLast()) } else { $0 } },
            { _ in .opened(pages: 1, hidden: 2) },
            { _ in .refused(code: "busy", message: "no") },
        ]
        for harm in harms {
            var (coordinator, stage) = pair()
            let said = run(coordinator.compute(work(3), now: Self.start), &coordinator, &stage, tamper: harm)
            #expect(said.count == 1 && coordinator.isOver)
            if case .over = said.first {} else { Issue.record("\(said)") }
        }
        var greedy = LayersExchange(request(pages: 4), now: Self.start)
        _ = greedy.begin()
        _ = greedy.received(.opened(pages: 5, hidden: 2), now: Self.start)
        #expect(greedy.isOver)
    }

    @Test func silenceAndIdlenessEndIt() {
        var (coordinator, stage) = pair()
        let later = Self.start + .seconds(31)
        #expect(coordinator.elapsed(now: later, patience: .seconds(30)).isEmpty, "nothing is awaited")
        _ = coordinator.compute(work(1), now: later)
        #expect(coordinator.elapsed(now: later + .seconds(30), patience: .seconds(30)).isEmpty)
        #expect(coordinator.elapsed(now: later + .seconds(31), patience: .seconds(30)) == [.over(.silent(seconds: 31))])
        #expect(stage.elapsed(now: Self.start + .minutes(10)).isEmpty)
        let ended = stage.elapsed(now: Self.start + .minutes(11))
        #expect(ended.last == .over && stage.isOver)
    }

    @Test func aStageTakesNoMoreThanItsLimits() {
        func refusal(_ actions: [StageAction]) -> String? {
            guard case .send(.refused(let code, _)) = actions.first, actions.last == .over else { return nil }
            return code
        }
        var (_, stage) = pair()
        for step in 1...UInt64(StageExchange.waitingMax) {
            #expect(stage.received(.compute(step: step, work(1)), now: Self.start) { _ in nil } == [.compute(work(1))])
        }
        let next = UInt64(StageExchange.waitingMax + 1)
        #expect(refusal(stage.received(.compute(step: next, work(1)), now: Self.start) { _ in nil }) == "too_much")
        var (_, gap) = pair()
        #expect(refusal(gap.received(.compute(step: 2, work(1)), now: Self.start) { _ in nil }) == "malformed")
        var early = StageExchange(now: Self.start)
        #expect(refusal(early.received(.compute(step: 1, work(1)), now: Self.start) { _ in nil }) == "malformed")
        var unwanted = StageExchange(now: Self.start)
        #expect(refusal(unwanted.received(.open(request()), now: Self.start) { _ in ("busy", "no") }) == "busy")
        #expect(unwanted.received(.open(request()), now: Self.start) { _ in nil }.isEmpty)
    }
}

/// A few nodes with streams between them and kernels that add one.
private struct LayerWorld {
    private(set) var nodes: [Node] = []
    let peers: [PeerID]
    private var now = Instant.start
    private var ends: [[StreamID: (node: Int, stream: StreamID)]]
    private var lastInbound: UInt64 = 1
    private var waiting: [(node: Int, event: NodeEvent)] = []
    private(set) var heard: [CommandID: [NodeAnswer]] = [:]
    /// Nodes whose kernels do not answer.
    var mute: Set<Int> = []
    /// Sessions that hold something, by node.
    private(set) var granted: [[Ticket]]

    init(_ count: Int, offers: [Int: Range<Int>], patience: Span = .seconds(30)) throws {
        let keys = try (1...count).map { try SigningKey(seed: [UInt8](repeating: UInt8($0), count: 32)) }
        let first = keys[0].publicKey
        let genesis = try Genesis(
            name: "layers", time: WallTime(milliseconds: 1_000),
            balances: [.init(account: first.account, amount: .one)],
            candidates: [.init(account: first.account, key: first, stake: .zero, seats: 1)], faucet: nil,
            parameters: .standard)
        peers = keys.map(\.publicKey.peerID)
        ends = Array(repeating: [:], count: count)
        granted = Array(repeating: [], count: count)
        for key in keys {
            var configuration = NodeConfiguration(
                key: key, genesis: genesis,
                price: PriceSchedule(request: .zero, promptToken: .zero, answerToken: .zero), allowanceLimit: .one,
                allowanceHeights: 10, seed: 1, firstSequence: 1)
            configuration.layersPatience = patience
            nodes.append(try Node(configuration, moment: Moment(now, WallTime(milliseconds: 1_000))))
        }
        for index in 1..<count {
            feed(0, .connected(peers[index], outbound: true))
            feed(index, .connected(peers[0], outbound: false))
        }
        for (index, layers) in offers.sorted(by: { $0.key < $1.key }) {
            let served = ServedLayers(model: model, name: "m", precision: "f32", numerics: 2, layers: layers)
            feed(index, .command(CommandID(1), .offerLayers(LayerOffer(served: [served], peers: []))))
        }
    }

    mutating func feed(_ node: Int, _ event: NodeEvent) {
        waiting.append((node, event))
        while !waiting.isEmpty {
            let (node, event) = waiting.removeFirst()
            for effect in nodes[node].handle(event, at: Moment(now, WallTime(milliseconds: 1_000))) {
                perform(effect, node)
            }
        }
    }

    private mutating func perform(_ effect: NodeEffect, _ node: Int) {
        switch effect {
        case .open(let stream, let peer, let names):
            guard names == [NodeProtocol.layers], let other = peers.firstIndex(of: peer) else {
                waiting.append((node, .openFailed(stream)))
                return
            }
            lastInbound += 2
            let far = StreamID(lastInbound)
            ends[node][stream] = (other, far)
            ends[other][far] = (node, stream)
            waiting.append((other, .accepted(far, peers[node], protocolName: NodeProtocol.layers)))
            waiting.append((node, .opened(stream, protocolName: NodeProtocol.layers)))
        case .send(let stream, let bytes):
            if let end = ends[node][stream] { waiting.append((end.node, .received(end.stream, bytes))) }
        case .finish(let stream), .reset(let stream):
            guard let end = ends[node].removeValue(forKey: stream) else { return }
            waiting.append((end.node, .ended(end.stream)))
        case .computeLayers(let order, let ticket):
            switch order {
            case .open(let request):
                granted[node].append(ticket)
                waiting.append((node, .staged(ticket, .opened(pages: request.pages, hidden: 2))))
            case .compute(let work):
                guard !mute.contains(node) else { return }
                waiting.append((node, .staged(ticket, .computed(rows: layered(work.rows)))))
            case .close: granted[node].removeAll { $0 == ticket }
            }
        case .persist(_, let ticket): waiting.append((node, .synced(ticket)))
        case .answer(let id, let answer): if node == 0 { heard[id, default: []].append(answer) }
        default: break
        }
    }

    /// A peer is gone, and what it held with it.
    mutating func kill(_ index: Int) {
        ends[index] = [:]
        granted[index] = []
        feed(0, .disconnected(peers[index]))
    }

    mutating func pass(_ span: Span) {
        now = now + span
        for index in nodes.indices { feed(index, .elapsed(.upkeep)) }
    }

    /// The last that a session heard, in words.
    func last(_ id: CommandID) -> String {
        switch heard[id]?.last {
        case .layers(.opened(let pages, _)): "opened \(pages)"
        case .layers(.computed(let rows)): "computed \(rows.count)"
        case .failed(.layers(.refused(let code, _))): "refused \(code)"
        case .failed(.layers(let fault)): "\(fault)"
        case let other: "\(String(describing: other))"
        }
    }
}

@Suite struct LayerNodeTests {
    @Test func aStageDiesAndAnotherGoesOn() throws {
        var world = try LayerWorld(3, offers: [1: 0..<5, 2: 2..<5])
        let first = CommandID(10), second = CommandID(11)
        world.feed(0, .command(first, .openLayers(world.peers[1], request())))
        #expect(world.last(first) == "opened 64" && world.nodes[1].stagesServed == 1)
        world.feed(0, .command(CommandID(20), .computeLayers(work(3), session: first)))
        #expect(world.last(first) == "computed 24")
        world.kill(1)
        #expect(world.last(first) == "vanished" && world.nodes[0].stagesUsed == 0)
        world.feed(0, .command(second, .openLayers(world.peers[2], request())))
        world.feed(0, .command(CommandID(21), .computeLayers(work(9), session: second)))
        #expect(world.last(second) == "computed 72")
        // Whoever has no more use for it lets go, and the stage is free again.
        world.feed(0, .cancelled(second))
        #expect(world.nodes[2].stagesServed == 0 && world.granted[2].isEmpty && world.nodes[0].stagesUsed == 0)
        world.feed(0, .command(CommandID(12), .openLayers(world.peers[1], request())))
        #expect(world.last(CommandID(12)) == "notConnected")
    }

    @Test func aSilentStageIsGivenUp() throws {
        var world = try LayerWorld(2, offers: [1: 0..<9], patience: .seconds(7))
        let session = CommandID(10)
        world.feed(0, .command(session, .openLayers(world.peers[1], request())))
        world.mute = [1]
        world.feed(0, .command(CommandID(20), .computeLayers(work(3), session: session)))
        world.pass(.seconds(6))
        #expect(world.last(session) == "opened 64")
        world.pass(.seconds(6))
        #expect(world.last(session) == "silent(seconds: 12)")
        #expect(world.nodes[1].stagesServed == 0 && world.granted[1].isEmpty)
    }

    @Test func onlyWhatIsOfferedIsGiven() throws {
        var world = try LayerWorld(2, offers: [1: 2..<4])
        var number: UInt64 = 10
        func refusal(_ request: LayersRequest) -> String {
            number += 1
            world.feed(0, .command(CommandID(number), .openLayers(world.peers[1], request)))
            return world.last(CommandID(number))
        }
        #expect(refusal(request(2..<5)) == "refused not_serving")
        var other = request(2..<4)
        other.numerics = 3
        #expect(refusal(other) == "refused not_serving")
        for _ in 0..<4 { #expect(refusal(request(2..<4)) == "opened 64") }
        #expect(refusal(request(2..<4)) == "refused busy")
        #expect(world.nodes[1].stagesServed == 4 && world.granted[1].count == 4)
        world.feed(1, .command(CommandID(5), .offerLayers(LayerOffer(served: [], peers: [world.peers[1]]))))
        #expect(refusal(request(2..<4)) == "refused not_for_you")
        world.kill(1)
        world.feed(1, .disconnected(world.peers[0]))
        #expect(world.nodes[1].stagesServed == 0 && world.nodes[0].stagesUsed == 0)
    }
}
