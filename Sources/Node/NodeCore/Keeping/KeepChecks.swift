// Proofs of keeping, both sides of /openledger/keep/1: what a keeper is asked, and what this peer answers.
//
//   due ──▶ own blocks read, proofs computed ──▶ asked ──▶ compared ──▶ seen
//                                                  └── 30 s, or the stream ends ──▶ not proved

import Primitives

struct KeepChecks: Sendable {
    static let askedMax = 2
    static let servedMax = 8
    static let servedPerMinute = 30
    static let countedMax = 1024
    static let patience = Span.seconds(30)

    struct Check: Sendable {
        let keeper: PeerID
        let nonce: [UInt8]
        var shards: [CID]
        var expected: [CID: Digest] = [:]
        /// Own blocks that are still being read.
        var reading: Int
        var stream: StreamID?
        let deadline: Instant
    }

    struct Served: Sendable {
        let nonce: [UInt8]
        let shards: [CID]
        var proofs: [CID: Digest] = [:]
        var reading: Int
    }

    var asked: [UInt64: Check] = [:]
    var served: [StreamID: Served] = [:]
    var lastNumber: UInt64 = 0
    /// When each peer asked within the last minute.
    private var recent: [PeerID: [Instant]] = [:]

    mutating func admits(_ peer: PeerID, now: Instant) -> Bool {
        let times = (recent[peer] ?? []).filter { now.since($0) < .seconds(60) }
        guard times.count < Self.servedPerMinute else { return false }
        if recent[peer] == nil, recent.count >= Self.countedMax {
            let quiet = recent.min { ($0.value.last ?? .start, $0.key) < ($1.value.last ?? .start, $1.key) }
            if let quiet { recent[quiet.key] = nil }
        }
        recent[peer] = times + [now]
        return true
    }
}

extension Node {
    mutating func tendChecks() {
        for number in keeping.checks.asked.keys.sorted() {
            guard let check = keeping.checks.asked[number], check.deadline <= moment.instant else { continue }
            if let stream = check.stream {
                effects.append(.reset(stream))
                ended(stream)
            }
            finishCheck(number, [:])
        }
        for keeper in keeping.due.keys.sorted() {
            guard keeping.checks.asked.count < KeepChecks.askedMax else { return }
            guard !keeping.checks.asked.values.contains(where: { $0.keeper == keeper }),
                let shards = keeping.due.removeValue(forKey: keeper)
            else { continue }
            if links.isConnected(keeper) { beginCheck(keeper, shards) }
        }
    }

    private mutating func beginCheck(_ keeper: PeerID, _ shards: [CID]) {
        keeping.checks.lastNumber += 1
        let number = keeping.checks.lastNumber
        keeping.checks.asked[number] = KeepChecks.Check(
            keeper: keeper, nonce: keeping.random.bytes(KeepMessage.nonceBytes), shards: shards, reading: shards.count,
            deadline: moment.instant + KeepChecks.patience)
        for shard in shards {
            let ticket = ticket()
            keeping.reads[ticket] = .check(number, shard)
            effects.append(.load(shard, ticket))
        }
    }

    mutating func checkLoaded(_ number: UInt64, _ cid: CID, _ bytes: [UInt8]?) {
        guard var check = keeping.checks.asked[number] else { return }
        check.reading -= 1
        if let bytes {
            check.expected[cid] = KeepMessage.proof(check.nonce, of: bytes, by: check.keeper)
        } else {
            check.shards.removeAll { $0 == cid }
        }
        if check.reading == 0, !check.shards.isEmpty {
            let stream = links.open(check.keeper, .keepAsked(number))
            check.stream = stream
            effects.append(.open(stream, check.keeper, protocols: [NodeProtocol.keep]))
            send(KeepMessage.prove(nonce: check.nonce, shards: check.shards).encoded(), on: stream)
        }
        keeping.checks.asked[number] = check.reading == 0 && check.shards.isEmpty ? nil : check
    }

    mutating func keepAnswered(_ bytes: [UInt8], _ number: UInt64, on stream: StreamID) {
        guard let check = keeping.checks.asked[number] else { return }
        var proved: [CID: Bool] = [:]
        do {
            switch try KeepMessage(decoding: bytes) {
            case .proofs(let proofs) where proofs.count == check.shards.count:
                for (shard, proof) in zip(check.shards, proofs) {
                    guard let proof else { continue }
                    proved[shard] = proof == check.expected[shard]
                    if proved[shard] == false { blame(check.keeper, "keep: a wrong proof of \(shard)") }
                }
            case .refused: break
            case .prove, .proofs: blame(check.keeper, "keep: a message out of turn")
            }
        } catch {
            blame(check.keeper, "keep: \(error)")
            effects.append(.reset(stream))
        }
        finishCheck(number, proved)
    }

    mutating func keepAskedClosed(_ number: UInt64) { finishCheck(number, [:]) }

    private mutating func finishCheck(_ number: UInt64, _ proved: [CID: Bool]) {
        guard let check = keeping.checks.asked.removeValue(forKey: number) else { return }
        for shard in check.shards {
            keeping.note(shard, check.keeper, proved: proved[shard] == true, now: moment.instant)
        }
    }

    // MARK: For others

    mutating func keepAsked(_ bytes: [UInt8], on stream: StreamID, from peer: PeerID) {
        let message: KeepMessage
        do {
            message = try KeepMessage(decoding: bytes)
        } catch {
            blame(peer, "keep: \(error)")
            return refuseProofs(stream, "malformed", "\(error)")
        }
        guard case .prove(let nonce, let shards) = message, keeping.checks.served[stream] == nil else {
            blame(peer, "keep: a message out of turn")
            return refuseProofs(stream, "malformed", "a message out of turn")
        }
        guard keeping.checks.served.count < KeepChecks.servedMax else {
            return refuseProofs(stream, "busy", "\(KeepChecks.servedMax) proofs are being made")
        }
        guard keeping.checks.admits(peer, now: moment.instant) else {
            return refuseProofs(stream, "rate", "at most \(KeepChecks.servedPerMinute) requests a minute for one peer")
        }
        keeping.checks.served[stream] = KeepChecks.Served(nonce: nonce, shards: shards, reading: shards.count)
        for shard in shards {
            let ticket = ticket()
            keeping.reads[ticket] = .proof(stream, shard)
            effects.append(.load(shard, ticket))
        }
    }

    mutating func proofLoaded(_ stream: StreamID, _ cid: CID, _ bytes: [UInt8]?) {
        guard var served = keeping.checks.served[stream] else { return }
        served.reading -= 1
        if let bytes, bytes.count <= KeepDesk.provedBytesMax {
            served.proofs[cid] = KeepMessage.proof(served.nonce, of: bytes, by: peer)
        }
        keeping.checks.served[stream] = served
        guard served.reading == 0 else { return }
        keeping.checks.served[stream] = nil
        send(KeepMessage.proofs(served.shards.map { served.proofs[$0] }).encoded(), on: stream)
        finish(stream)
    }

    mutating func keepServedClosed(_ stream: StreamID) { keeping.checks.served[stream] = nil }

    private mutating func refuseProofs(_ stream: StreamID, _ code: String, _ message: String) {
        send(KeepMessage.refused(code: code, message: String(message.prefix(512))).encoded(), on: stream)
        finish(stream)
    }
}
