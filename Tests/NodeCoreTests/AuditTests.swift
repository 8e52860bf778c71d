// Audits between nodes: what is asked, what is refused, what two verdicts come to, and what a peer makes of evidence that
// others bring. Two or three nodes pass each other their messages; an engine is a function here.

import Ledger
import Primitives
import Records
import Testing

@testable import NodeCore

/// Nodes that are connected to each other; effects are carried at once.
private final class AuditNet {
    struct Peer {
        var node: Node
        var tables: [NodeTable: [[UInt8]: [UInt8]]] = [:]
        /// nil: does not come to an end.
        var engine: (ReexecutionOrder) -> Reexecution?
        var scales: (ReweighingOrder) -> Reweighing? = { _ in .done(.same) }
        var answers: [NodeAnswer] = []
        var notices: [NodeNotice] = []
    }

    static let keys = (1...5).compactMap { try? SigningKey(seed: [UInt8](repeating: $0, count: 32)) }
    static let model = CID(.dagCBOR, hashing: [1])
    let genesis: Genesis
    var peers: [Peer] = []
    var now = Instant.start
    /// The other end of each stream, by who sees it so.
    private var pipes: [Int: [StreamID: (peer: Int, stream: StreamID)]] = [:]
    private var lastInbound: UInt64 = 1
    private var work: [(Int, NodeEvent)] = []
    private var commands: UInt64 = 0
    /// What goes over the wire may be changed.
    var tamper: ([UInt8]) -> [UInt8] = { $0 }

    static let answer: [UInt32] = [11, 12, 13, 14]

    init(_ count: Int, _ change: (Int, inout NodeConfiguration) -> Void = { _, _ in }) throws {
        let account = Self.keys[4].publicKey.account
        genesis = try Genesis(
            name: "audit", time: WallTime(milliseconds: 1_700_000_000_000),
            balances: [Genesis.Balance(account: account, amount: .one)],
            candidates: [Genesis.Candidate(account: account, key: Self.keys[4].publicKey, stake: .one, seats: 1)])
        for index in 0..<count {
            peers.append(Peer(node: try start(index, change, Restored()), engine: { _ in .done(.same(ended: true)) }))
            pipes[index] = [:]
        }
        for one in 0..<count {
            feed(one, .start)
            for other in 0..<count where other != one { feed(one, .connected(peer(other), outbound: one < other)) }
        }
    }

    private func start(
        _ index: Int, _ change: (Int, inout NodeConfiguration) -> Void, _ restored: Restored
    ) throws -> Node {
        var configuration = NodeConfiguration(
            key: Self.keys[index], genesis: genesis,
            price: PriceSchedule(request: .zero, promptToken: .zero, answerToken: .zero), allowanceLimit: .one,
            allowanceHeights: 100, seed: UInt64(index), firstSequence: 1)
        change(index, &configuration)
        return try Node(configuration, restored: restored, moment: moment)
    }

    func restart(_ index: Int) throws {
        peers[index].node = try start(index, { _, _ in }, Restored(reading: Tables(tables: peers[index].tables)))
    }

    private struct Tables: TableReader {
        let tables: [NodeTable: [[UInt8]: [UInt8]]]
        func value(_ table: NodeTable, _ key: [UInt8]) -> [UInt8]? { tables[table]?[key] }
        func all(_ table: NodeTable, prefix: [UInt8]) -> [(key: [UInt8], value: [UInt8])] {
            (tables[table] ?? [:]).filter { $0.key.starts(with: prefix) }
                .sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { ($0.key, $0.value) }
        }
    }

    func peer(_ index: Int) -> PeerID { Self.keys[index].publicKey.peerID }
    func account(_ index: Int) -> AccountID { Self.keys[index].publicKey.account }
    var moment: Moment {
        Moment(now, WallTime(milliseconds: 1_700_000_000_000 + Int64(now.nanoseconds / 1_000_000)))
    }

    func feed(_ index: Int, _ event: NodeEvent) {
        work.append((index, event))
        guard work.count == 1 else { return }
        while let (index, event) = work.first {
            for effect in peers[index].node.handle(event, at: moment) { perform(effect, index) }
            work.removeFirst()
        }
    }

    private func perform(_ effect: NodeEffect, _ index: Int) {
        switch effect {
        case .open(let stream, let other, let names):
            guard let far = peers.indices.first(where: { peer($0) == other }), let name = names.first,
                [NodeProtocol.audit, NodeProtocol.catalog].contains(name)
            else { return work.append((index, .openFailed(stream))) }
            lastInbound += 2
            let inbound = StreamID(lastInbound)
            pipes[index]?[stream] = (far, inbound)
            pipes[far]?[inbound] = (index, stream)
            work.append((far, .accepted(inbound, peer(index), protocolName: name)))
            work.append((index, .opened(stream, protocolName: name)))
        case .send(let stream, let bytes):
            if let far = pipes[index]?[stream] { work.append((far.peer, .received(far.stream, tamper(bytes)))) }
        case .finish(let stream), .reset(let stream):
            guard let far = pipes[index]?.removeValue(forKey: stream) else { return }
            pipes[far.peer]?[far.stream] = nil
            work.append((far.peer, .ended(far.stream)))
        case .persist(let writes, let ticket):
            for write in writes {
                switch write {
                case .put(let table, let key, let value): peers[index].tables[table, default: [:]][key] = value
                case .delete(let table, let key): peers[index].tables[table]?[key] = nil
                case .dropBlock: break
                case .block: break
                }
            }
            work.append((index, .synced(ticket)))
        case .reexecute(let order, let ticket):
            if let result = peers[index].engine(order) { work.append((index, .reexecuted(ticket, result))) }
        case .reweigh(let order, let ticket):
            if let result = peers[index].scales(order) { work.append((index, .reweighed(ticket, result))) }
        case .answer(_, let answer): peers[index].answers.append(answer)
        case .notify(let notice): peers[index].notices.append(notice)
        default: break
        }
    }

    // MARK: What the tests do

    /// An answer that peer `server` signed and peer `payer` paid.
    func record(payer: Int = 0, server: Int = 1, number: UInt8 = 0, tokens: [UInt32] = answer) throws -> OwnReceipt {
        let salts = (1...2).map { [UInt8](repeating: $0, count: 32) }
        let order = AskOrder(
            request: Digest(sha256: [number]), allowance: AllowanceID(Digest(sha256: [8])), sequence: 1,
            priorTotal: .zero, price: PriceSchedule(request: .zero, promptToken: .zero, answerToken: .zero),
            priceMax: .zero, payer: account(payer), model: Self.model, precision: "f32", adapters: [], datanet: nil,
            prompt: .tokens([1, 2, 3]), decoding: Decoding(seed: 1, maxTokens: 8), promptSalt: salts[0],
            answerSalt: salts[1])
        let receipt = Receipt(
            network: genesis.network, allowance: order.allowance, sequence: 1, request: order.request, expiry: 90,
            model: ModelUse(
                weights: Self.model, owner: nil, tokenizer: nil, template: nil, precision: "f32", numerics: 2),
            decoding: order.decoding,
            prompt: try #require(Commitment(salt: salts[0], content: Commitment.content(tokens: [1, 2, 3]))),
            answer: try #require(Commitment(salt: salts[1], content: Commitment.content(tokens: tokens))),
            promptTokens: 3, answerTokens: UInt64(tokens.count), data: .none, price: order.price, amount: .zero,
            total: .zero, payer: account(payer), payerKey: Self.keys[payer].publicKey, server: account(server),
            serverKey: Self.keys[server].publicKey)
        return OwnReceipt(
            signed: SignedReceipt(receipt, server: Self.keys[server], payer: Self.keys[payer]), role: .payer,
            order: order.encoded(), promptTokens: [1, 2, 3], answerTokens: tokens, sources: [], time: moment.wall,
            end: .stop)
    }

    /// The answer to an audit.
    func audit(
        _ record: OwnReceipt, at index: Int = 0, by auditor: Int?, publishes: Bool = false, shares: Bool = false
    ) -> NodeAnswer? {
        commands += 1
        peers[index].answers = []
        let request = AuditRequest(
            record: record, auditor: auditor.map { peer($0) }, publishes: publishes, shares: shares)
        feed(index, .command(CommandID(commands), .audit(request)))
        return peers[index].answers.last
    }

    func outcome(_ answer: NodeAnswer?) -> AuditOutcome? {
        if case .audited(let report)? = answer { report.verdict.verdict.outcome } else { nil }
    }

    func refusal(_ answer: NodeAnswer?) -> String? {
        switch answer {
        case .failed(.auditRefused(let code, _))?: code
        case .failed(.audit(let fault))?: fault.rawValue
        default: nil
        }
    }

    func pass(_ seconds: UInt64) {
        now = now + .seconds(seconds)
        for index in peers.indices { feed(index, .elapsed(.upkeep)) }
    }

    /// Evidence under `publisher`'s name that two strangers vouch for.
    func evidence(
        _ record: OwnReceipt, by publisher: Int = 3, _ outcome: AuditOutcome = .differs(position: 0, found: 5)
    ) throws -> [UInt8] {
        let opening = try #require(record.opening)
        let verdict = try #require(
            AuditVerdict(
                record.signed.id, outcome, of: opening, numerics: 2, height: 1, time: moment.wall))
        let evidence = AuditEvidence(
            receipt: record.signed, opening: opening,
            verdicts: [2, 3].map { SignedVerdict(verdict, by: Self.keys[$0], network: genesis.network) })
        return SignedEnvelope(
            evidence.encoded(), by: Self.keys[publisher], domain: .evidence, network: genesis.network
        ).encoded()
    }

    func offer(_ bytes: [UInt8], to index: Int) -> Bool {
        let before = peers[index].node.auditBook.entries.count
        // An event of no meaning, for the time; and one for what is to be written.
        feed(index, .openFailed(StreamID(0)))
        _ = peers[index].node.offerEvidence(bytes, from: nil)
        feed(index, .openFailed(StreamID(0)))
        return peers[index].node.auditBook.entries.count > before
    }
}

@Suite struct AuditTests {
    private static let wrong = Reexecution.done(.differs(position: 1, found: 99))
    private static let missing = Reexecution.refused(code: "model_missing", message: "not here")

    @Test func anotherPeersWordAndOnesOwn() throws {
        let net = try AuditNet(3)
        let record = try net.record()
        #expect(net.outcome(net.audit(record, by: 2)) == .same(ended: true))
        #expect(net.outcome(net.audit(record, by: nil)) == .same(ended: true))
        #expect(net.peers[0].node.verdicts(on: record.signed.id).count == 2)
        #expect(net.peers[0].node.auditBook.entries.isEmpty && net.peers[0].node.auditBook.distrusted.isEmpty)
        // The server does not audit itself, and a refusal says why.
        guard case .failed(.notReady)? = net.audit(record, by: 1) else {
            Issue.record("the server was asked")
            return
        }
        net.peers[2].engine = { _ in Self.missing }
        #expect(net.refusal(net.audit(record, by: 2)) == "model_missing")
    }

    @Test func aDifferenceSeenHereIsActedOn() throws {
        let net = try AuditNet(3)
        let record = try net.record()
        net.peers[0].engine = { _ in Self.wrong }
        #expect(net.outcome(net.audit(record, by: nil)) == .differs(position: 1, found: 99))
        #expect(net.peers[0].node.distrust(of: net.account(1))?.receipt == record.signed.id)
        // One verdict is no evidence; with another's that agrees it is.
        #expect(net.peers[0].node.auditBook.entries.isEmpty)
        net.peers[2].engine = { _ in .done(.differs(position: 2, found: 99)) }
        _ = net.audit(record, by: 2)
        #expect(net.peers[0].node.auditBook.entries.isEmpty)
        net.peers[2].engine = { _ in Self.wrong }
        guard case .audited(let report)? = net.audit(record, by: 2) else {
            Issue.record("no verdict")
            return
        }
        #expect(report.isEvidence && !report.isPublished)
        let entry = try #require(net.peers[0].node.auditBook.entries[record.signed.id])
        try entry.evidence.check(network: net.genesis.network)
        #expect(entry.standing == .confirmed && net.peers[0].node.auditBook.envelopes.isEmpty)
        guard case .audited(let shown)? = net.audit(record, by: nil, publishes: true) else { return }
        #expect(shown.isPublished && net.peers[0].node.auditBook.envelopes.count == 1)
        // It is all there after a restart.
        try net.restart(0)
        let node = net.peers[0].node
        #expect(node.distrust(of: net.account(1)) != nil && node.verdicts(on: record.signed.id).count == 2)
        #expect(node.auditBook.entries[record.signed.id]?.standing == .confirmed)
        #expect(node.auditBook.envelopes.count == 1)
    }

    @Test func anAccuserIsNotBelieved() throws {
        let net = try AuditNet(3)
        let record = try net.record()
        // This peer's own kernels say otherwise.
        net.peers[2].engine = { _ in Self.wrong }
        #expect(net.outcome(net.audit(record, by: 2)) == .differs(position: 1, found: 99))
        #expect(net.peers[0].node.verdicts(on: record.signed.id).count == 2)
        #expect(net.peers[0].node.auditBook.distrusted.isEmpty && net.peers[0].node.auditBook.entries.isEmpty)
        // Without the model it is a claim, and no more.
        net.peers[0].engine = { _ in Self.missing }
        let other = try net.record(number: 2)
        _ = net.audit(other, by: 2)
        #expect(net.peers[0].node.verdicts(on: other.signed.id).count == 1)
        #expect(net.peers[0].node.auditBook.distrusted.isEmpty)
    }

    @Test func whatDoesNotOpenGoesNowhere() throws {
        let net = try AuditNet(3)
        var record = try net.record()
        record.answerTokens[0] = 1
        #expect(net.refusal(net.audit(record, by: 2)) == "answer")
        record = try net.record()
        record.signed.serverSignature = record.signed.payerSignature
        #expect(net.refusal(net.audit(record, by: nil)) == "receipt")
        record = try net.record()
        record.order = []
        #expect(net.refusal(net.audit(record, by: nil)) == "settings")
        #expect(net.peers[2].node.auditCounts.waiting == 0)
    }

    @Test func anAuditorChecksBeforeItComputes() throws {
        let net = try AuditNet(3) { index, configuration in
            if index == 2 {
                configuration.audits.tokensMax = 8
                configuration.audits.servedPerHourMax = 3
            }
        }
        var computed = 0
        net.peers[2].engine = { _ in
            computed += 1
            return .done(.same(ended: false))
        }
        #expect(net.refusal(net.audit(try net.record(tokens: Array(1...6)), by: 2)) == "too_long")
        let record = try net.record()
        // Changed on its way: neither its signatures nor its opening hold.
        net.tamper = { bytes in
            guard case .audit(var receipt, let opening)? = try? AuditMessage(decoding: bytes) else { return bytes }
            receipt.serverSignature = receipt.payerSignature
            return AuditMessage.audit(receipt, opening).encoded()
        }
        #expect(net.refusal(net.audit(record, by: 2)) == "receipt")
        net.tamper = { bytes in
            guard case .audit(let receipt, var opening)? = try? AuditMessage(decoding: bytes) else { return bytes }
            opening.answerTokens[0] += 1
            return AuditMessage.audit(receipt, opening).encoded()
        }
        #expect(net.refusal(net.audit(record, by: 2)) == "opening")
        #expect(computed == 0)
        net.tamper = { $0 }
        #expect(net.outcome(net.audit(record, by: 2)) == .same(ended: false) && computed == 1)
        #expect(net.refusal(net.audit(record, by: 2)) == "rate")
        net.now = net.now + .seconds(3601)
        #expect(net.outcome(net.audit(record, by: 2)) == .same(ended: false) && computed == 2)
        net.tamper = { _ in [0xff] }
        #expect(net.refusal(net.audit(record, by: 2)) == "malformed")
    }

    @Test func aPeerThatServesNobodyAuditsNobody() throws {
        let net = try AuditNet(3) { index, configuration in if index == 2 { configuration.serves = false } }
        #expect(net.refusal(net.audit(try net.record(), by: 2)) == "not_serving")
    }

    // MARK: Shares

    private func shareOutcome(_ answer: NodeAnswer?) -> ShareOutcome? {
        if case .reweighed(let signed)? = answer { signed.verdict.outcome } else { nil }
    }

    @Test func sharesAreWeighedByAnotherAndHere() throws {
        let net = try AuditNet(3)
        let record = try net.record()
        #expect(shareOutcome(net.audit(record, by: 2, shares: true)) == .same)
        #expect(shareOutcome(net.audit(record, by: nil, shares: true)) == .same)
        let other = Contributor(account: net.account(2), share: .whole)
        let lie = ShareOutcome.differs(.rows, rows: Digest(sha256: [1]), contributors: [other])
        for index in [0, 2] { net.peers[index].scales = { _ in .done(lie) } }
        // Somebody else's finding is told; one's own has a consequence.
        #expect(shareOutcome(net.audit(record, by: 2, shares: true)) == lie)
        #expect(net.peers[0].node.distrust(of: net.account(1)) == nil)
        #expect(shareOutcome(net.audit(record, by: nil, shares: true)) == lie)
        #expect(net.peers[0].node.distrust(of: net.account(1))?.receipt == record.signed.id)
        // The server is told of itself and goes on trusting itself.
        #expect(shareOutcome(net.audit(record, at: 1, by: nil, shares: true)) == .same)
        net.peers[2].scales = { _ in .refused(code: "snapshot_missing", message: "not here") }
        #expect(net.refusal(net.audit(record, by: 2, shares: true)) == "snapshot_missing")
    }

    @Test func aVerdictOnSharesIsChecked() throws {
        let net = try AuditNet(3)
        let record = try net.record()
        func tampered(_ change: @escaping (AuditMessage) -> AuditMessage?) -> String? {
            net.now = net.now + .seconds(3601)
            net.tamper = { bytes in (try? AuditMessage(decoding: bytes)).flatMap(change)?.encoded() ?? bytes }
            return net.refusal(net.audit(record, by: 2, shares: true))
        }
        func forged(_ change: @escaping (inout SignedShareVerdict) -> Void) -> String? {
            tampered { message in
                guard case .weighed(var signed) = message else { return nil }
                change(&signed)
                return .weighed(signed)
            }
        }
        #expect(forged { _ in } == nil)
        #expect(forged { $0.verdict.receipt = Digest(sha256: [7]) } == "malformed")
        #expect(forged { $0.verdict.outcome = .differs(.prompt) } == "malformed", "the signature")
        #expect(forged { $0.verdict.numerics = 9 } == "malformed")
        // What differs must differ from what was signed.
        let network = net.genesis.network
        #expect(
            forged {
                $0.verdict.outcome = .differs(.rows)
                $0 = SignedShareVerdict($0.verdict, by: AuditNet.keys[2], network: network)
            } == "malformed")
        #expect(
            forged { $0 = SignedShareVerdict($0.verdict, by: AuditNet.keys[3], network: network) } == "malformed",
            "another's word")
        // Of another order or answer than the receipt's.
        #expect(
            tampered { message in
                guard case .weigh(let receipt, let order, var answer) = message else { return nil }
                answer[0] += 1
                return .weigh(receipt, order: order, answer: answer)
            } == "opening")
        #expect(
            tampered { message in
                guard case .weigh(let receipt, let bytes, let answer) = message,
                    var order = try? AskOrder(decoding: bytes)
                else { return nil }
                order.decoding.seed += 1
                return .weigh(receipt, order: order.encoded(), answer: answer)
            } == "opening")
        #expect(
            tampered { message in
                guard case .weigh(var receipt, let order, let answer) = message else { return nil }
                receipt.serverSignature = receipt.payerSignature
                return .weigh(receipt, order: order, answer: answer)
            } == "receipt")
        // An answer's verdict is none on its shares.
        let opening = try #require(record.opening)
        let verdict = try #require(
            AuditVerdict(
                record.signed.id, .same(ended: true), of: opening, numerics: 2, height: 1, time: net.moment.wall))
        #expect(
            tampered { message in
                guard case .weighed = message else { return nil }
                return .verdict(SignedVerdict(verdict, by: AuditNet.keys[2], network: network))
            } == "malformed")
    }

    @Test func verdictsOnSharesSurviveTheWire() throws {
        let net = try AuditNet(1)
        let contributors = [0, 2].map { Contributor(account: net.account($0), share: PartsPerMillion(500_000)) }
            .sorted { $0.account < $1.account }
        let outcomes: [ShareOutcome] =
            [.same, .unable("influence"), .differs(.rows, rows: .zero, contributors: contributors)]
            + ShareFault.allCases.map { .differs($0) }
        for outcome in outcomes {
            let verdict = ShareVerdict(.zero, outcome, numerics: 2, height: 3, time: net.moment.wall)
            let signed = SignedShareVerdict(verdict, by: AuditNet.keys[0], network: net.genesis.network)
            #expect(try SignedShareVerdict(decoding: signed.encoded()) == signed)
            #expect(try AuditMessage(decoding: AuditMessage.weighed(signed).encoded()) == .weighed(signed))
        }
        let disordered = ShareVerdict(
            .zero, .differs(.rows, rows: .zero, contributors: contributors.reversed()), numerics: 2, height: 3,
            time: net.moment.wall)
        #expect(throws: CBORFault.self) { try ShareVerdict(decoding: disordered.encoded()) }
    }

    /// A verdict must be the auditor's, on this receipt, about this answer.
    @Test func aVerdictIsChecked() throws {
        let net = try AuditNet(3)
        let record = try net.record(), opening = try #require(record.opening)
        func forged(_ change: @escaping (inout SignedVerdict) -> Void) -> String? {
            net.tamper = { bytes in
                guard case .verdict(var signed)? = try? AuditMessage(decoding: bytes) else { return bytes }
                change(&signed)
                return AuditMessage.verdict(signed).encoded()
            }
            return net.refusal(net.audit(record, by: 2))
        }
        let network = net.genesis.network
        #expect(forged { $0.signature = record.signed.payerSignature } == "malformed")
        #expect(forged { $0 = SignedVerdict($0.verdict, by: AuditNet.keys[3], network: network) } == "malformed")
        #expect(
            forged { signed in
                var verdict = signed.verdict
                verdict.receipt = .zero
                signed = SignedVerdict(verdict, by: AuditNet.keys[2], network: network)
            } == "malformed")
        #expect(
            forged { signed in
                var verdict = signed.verdict
                verdict.outcome = .differs(position: 1, found: opening.answerTokens[1])
                signed = SignedVerdict(verdict, by: AuditNet.keys[2], network: network)
            } == "malformed")
        #expect(net.peers[0].node.verdicts(on: record.signed.id).isEmpty)
        // The same bytes untouched are taken.
        net.tamper = { $0 }
        #expect(net.outcome(net.audit(record, by: 2)) == .same(ended: true))
    }

    @Test func aSilentAuditorIsGivenUp() throws {
        let net = try AuditNet(3)
        net.peers[2].engine = { _ in nil }
        let record = try net.record()
        #expect(net.audit(record, by: 2) == nil)
        net.pass(121)
        #expect(net.refusal(net.peers[0].answers.last) == "timed_out")
        // What was being done for it is let go where it hangs up while it waits.
        let other = try net.record(number: 2)
        #expect(net.audit(other, by: 2) == nil)
        #expect(net.peers[2].node.auditCounts.waiting == 1)
        net.feed(0, .cancelled(CommandID(2)))
        #expect(net.peers[2].node.auditCounts.waiting == 0)
    }

    // MARK: Evidence

    @Test func evidenceIsJudgedByOnesOwnKernels() throws {
        for (engine, standing, isAvoided) in [
            (Self.wrong, EvidenceBook.Standing.confirmed, true),
            (Reexecution.done(.same(ended: true)), .refuted, false), (Self.missing, .unverified, false),
        ] {
            let net = try AuditNet(1)
            net.peers[0].engine = { _ in engine }
            let record = try net.record(payer: 3, server: 1)
            #expect(net.offer(try net.evidence(record), to: 0))
            #expect(net.peers[0].node.auditBook.distrusted.isEmpty)
            net.pass(5)
            #expect(net.peers[0].node.auditBook.entries[record.signed.id]?.standing == standing)
            #expect((net.peers[0].node.distrust(of: net.account(1)) != nil) == isAvoided)
        }
    }

    @Test func onlyEvidenceThatHoldsIsTaken() throws {
        let net = try AuditNet(1)
        let record = try net.record(payer: 3, server: 1)
        let good = try net.evidence(record)
        var bad = good
        bad[bad.count / 2] ^= 1
        #expect(!net.offer(bad, to: 0))
        #expect(!net.offer([0xa0], to: 0))
        // Older than the book keeps, or from the future.
        net.now = net.now + .seconds(31 * 86_400)
        #expect(!net.offer(good, to: 0))
        let future = try net.evidence(record)
        net.now = Instant.start
        #expect(!net.offer(future, to: 0))
        #expect(net.offer(good, to: 0) && !net.offer(good, to: 0))
    }

    @Test func thereIsAnEndToEvidence() throws {
        let net = try AuditNet(1)
        net.peers[0].engine = { _ in Self.missing }
        for number in 0..<EvidenceBook.entriesPerPublisherMax + 3 {
            let record = try net.record(payer: 3, server: 1, number: UInt8(number))
            #expect(net.offer(try net.evidence(record), to: 0) == (number < EvidenceBook.entriesPerPublisherMax))
        }
        let other = try net.record(payer: 3, server: 1, number: 200)
        #expect(net.offer(try net.evidence(other, by: 2), to: 0))
        #expect(net.peers[0].tables[.audits]?.count == EvidenceBook.entriesPerPublisherMax + 1)
        // At most so many an hour are looked at.
        var computed = 0
        net.peers[0].engine = { _ in
            computed += 1
            return Self.missing
        }
        for _ in 0..<100 { net.pass(5) }
        #expect(computed == AuditLimits().ownPerHourMax)
        net.now = net.now + .seconds(31 * 86_400)
        net.pass(5)
        #expect(net.peers[0].node.auditBook.entries.isEmpty && net.peers[0].tables[.audits]?.isEmpty ?? true)
    }

    /// Newcomers are sent what was published, and only that.
    @Test func evidenceReachesNewcomers() throws {
        let net = try AuditNet(3)
        let record = try net.record(payer: 3, server: 1)
        #expect(net.offer(try net.evidence(record), to: 0))
        net.feed(0, .disconnected(net.peer(2)))
        net.feed(2, .disconnected(net.peer(0)))
        net.feed(0, .connected(net.peer(2), outbound: false))
        net.feed(2, .connected(net.peer(0), outbound: true))
        #expect(net.peers[2].node.auditBook.entries[record.signed.id] != nil)
    }

    @Test func messagesSurviveTheWire() throws {
        let net = try AuditNet(1)
        let record = try net.record(), opening = try #require(record.opening)
        let verdict = try #require(
            AuditVerdict(
                record.signed.id, .unable("engine"), of: opening, numerics: 2, height: 1, time: net.moment.wall))
        for message: AuditMessage in [
            .audit(record.signed, opening),
            .verdict(SignedVerdict(verdict, by: AuditNet.keys[0], network: net.genesis.network)),
            .refused(code: "busy", message: "later"),
        ] {
            #expect(try AuditMessage(decoding: message.encoded()) == message)
            #expect(throws: CBORFault.self) { try AuditMessage(decoding: message.encoded() + [0]) }
        }
        #expect(throws: CBORFault.self) { try AuditMessage(decoding: CBOR.map(["type": .text("what")]).encoded()) }
    }
}
