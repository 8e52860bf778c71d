// The book of keys with its clock, its store and its lock. A reservation that a spend limit needs is on the disk before the
// answer begins; what an answer cost follows when it ended.

import HTTPTypes
import Primitives
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

final class KeyDesk: Sendable {
    private let store: any APIKeyStore
    private let book: Mutex<KeyBook>
    private let start = ContinuousClock.now

    init(store: any APIKeyStore) throws(NodeFault) {
        self.store = store
        book = Mutex(KeyBook(try store.records(), now: .start))
    }

    var isEmpty: Bool { book.withLock { $0.isEmpty } }

    fileprivate var now: Instant {
        let passed = (ContinuousClock.now - start).components
        return Instant(
            nanoseconds: UInt64(clamping: passed.seconds) * 1_000_000_000
                + UInt64(clamping: passed.attoseconds / 1_000_000_000))
    }

    fileprivate static var wall: WallTime {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(milliseconds: Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000)
    }

    func isKey(_ digest: Digest) -> Bool { book.withLock { $0.record(digest) != nil } }

    // MARK: The owner's changes

    var records: [APIKeyRecord] { book.withLock { $0.records } }

    func record(_ text: String) throws(NodeFault) -> APIKeyRecord {
        guard let record = book.withLock({ $0.find(text) }) else {
            throw NodeFault(.missing, "there is no key \"\(text.prefix(64))\"", code: "key_not_found")
        }
        return record
    }

    /// - Returns: the key's text, which nobody can have a second time.
    func make(name: String, limits: APIKeyLimits) async throws(NodeFault) -> (APIKeyRecord, Secret) {
        let secret = Secret.drawn(.apiKey)
        let record = APIKeyRecord(digest: secret.digest, name: name, limits: limits, created: Self.wall)
        let now = now
        try await durably { [store] done in
            let refusal = book.withLock { book -> NodeFault? in
                guard book.find(name) == nil else {
                    return NodeFault(
                        .conflict, "there is a key named \"\(name)\"; revoke it first", param: "name",
                        code: "name_taken")
                }
                guard book.add(record, now: now) else {
                    return NodeFault(
                        .conflict, "there are \(KeyBook.keysMax) keys; revoke one first", code: "too_many_keys")
                }
                store.put(record, done: done)
                return nil
            }
            if let refusal { done(refusal) }
        }
        return (record, secret)
    }

    func revoke(_ text: String) async throws(NodeFault) -> APIKeyRecord {
        let record = try record(text)
        try await durably { [store] done in
            book.withLock { book in
                book.remove(record.digest)
                store.remove(record.digest, done: done)
            }
        }
        return record
    }

    private func durably(_ change: (@escaping @Sendable (NodeFault?) -> Void) -> Void) async throws(NodeFault) {
        let fault: NodeFault? = await withCheckedContinuation { continuation in
            change { continuation.resume(returning: $0) }
        }
        if let fault { throw fault }
    }

    // MARK: Answers

    /// Lets the answer begin, or says when it may, or why not.
    /// - Parameter price: of what this peer answers itself.
    func admit(
        _ digest: Digest, _ estimate: AnswerEstimate, price: AnswerPrice
    ) async throws(NodeFault) -> KeyReservation {
        let now = now, wall = Self.wall
        let outcome = Mutex<KeyAction>(.unknown)
        try await durably { [store] done in
            book.withLock { book in
                let action = book.admit(digest, estimate, price: price, now: now, wall: wall)
                outcome.withLock { $0 = action }
                if case .admitted(let reservation) = action, reservation.cost > .zero, let kept = book.record(digest) {
                    store.put(kept, done: done)
                } else {
                    done(nil)
                }
            }
        }
        let note = rate(digest)
        switch outcome.withLock({ $0 }) {
        case .admitted(let reservation): return reservation
        case .wait(let seconds, let rate, let perMinute):
            throw NodeFault(
                .busy, "this key may have \(perMinute) \(rate) a minute; try again in \(seconds) s",
                code: "rate_limit_exceeded", retryAfterSeconds: max(1, seconds), rate: note)
        case .spent(let limit, let remaining):
            throw NodeFault(
                .balance,
                "this key may spend \(limit) OPEN, \(remaining) is left, and this answer may cost more; ask for fewer tokens, or the home's owner for a higher limit",
                code: "spend_limit", rate: note)
        case .unknown:
            throw NodeFault(.unauthenticated, "this key was revoked", code: "invalid_token")
        }
    }

    fileprivate func settle(_ reservation: KeyReservation, requests: Int, tokens: Int, cost: Amount) {
        let now = now, wall = Self.wall
        book.withLock { book in
            let kept = book.settle(
                reservation, requests: requests, tokens: tokens, cost: cost, now: now, wall: wall)
            // A write that fails leaves the reservation on the disk: what was spent is never forgotten, at most overstated.
            if let kept { store.put(kept) { _ in } }
        }
    }

    func rate(_ digest: Digest) -> RateNote? {
        let now = now
        return book.withLock { $0.note(digest, now: now) }
    }
}

/// What one HTTP request uses of its key; settled when the last that refers to it is gone, however the answer ended.
final class AnswerCharge: Sendable {
    fileprivate struct Used {
        var requests = 0
        var promptTokens = 0
        var answerTokens = 0
        /// Of the generation under way, which has not said its usage yet.
        var tokensSeen = 0
        var isOpen = false
        var paid = Amount.zero
        /// Whether the generation under way has its receipt.
        var isPaid = false
    }

    private let desk: KeyDesk?
    private let reservation: KeyReservation?
    private let price: AnswerPrice?
    private let promptTokensEach: Int
    private let used = Mutex(Used())

    /// Of someone who has no limits.
    init() {
        desk = nil
        reservation = nil
        price = nil
        promptTokensEach = 0
    }

    init(_ desk: KeyDesk, _ reservation: KeyReservation, price: AnswerPrice, promptTokensEach: Int) {
        self.desk = desk
        self.reservation = reservation
        self.price = price
        self.promptTokensEach = promptTokensEach
    }

    /// A generation was taken by the node.
    func began() {
        used.withLock { used in
            used.requests += 1
            used.isOpen = true
            used.isPaid = false
        }
    }

    func take(_ event: GenerationEvent) {
        used.withLock { used in
            switch event {
            case .token(let token): if !token.isPrompt { used.tokensSeen += 1 }
            case .receipt(let receipt):
                used.paid = used.paid.plus(receipt.cost)
                used.isPaid = true
            case .usage(let promptTokens, let completionTokens):
                used.close(promptTokens: promptTokens, answerTokens: completionTokens, price: price)
            case .finished, .sources, .toolCall: break
            }
        }
    }

    /// Tokens that were read and not answered: of an embedding.
    func took(promptTokens: Int) {
        used.withLock { used in
            used.requests += 1
            used.close(promptTokens: promptTokens, answerTokens: 0, price: price)
        }
    }

    var headers: HTTPFields {
        guard let desk, let reservation else { return [:] }
        return desk.rate(reservation.digest)?.headers ?? [:]
    }

    deinit {
        guard let desk, let reservation else { return }
        let used = used.withLock { used in
            if used.isOpen { used.close(promptTokens: promptTokensEach, answerTokens: used.tokensSeen, price: price) }
            return used
        }
        desk.settle(
            reservation, requests: used.requests, tokens: used.promptTokens + used.answerTokens, cost: used.paid)
    }
}

extension AnswerCharge.Used {
    fileprivate mutating func close(promptTokens: Int, answerTokens: Int, price: AnswerPrice?) {
        self.promptTokens += promptTokens
        self.answerTokens += answerTokens
        if !isPaid, let price {
            paid = paid.plus(price.cost(requests: 1, promptTokens: promptTokens, answerTokens: answerTokens))
        }
        tokensSeen = 0
        isOpen = false
        isPaid = false
    }
}

extension RateNote {
    /// As OpenAI names them.
    var headers: HTTPFields {
        var fields: HTTPFields = [:]
        for (rate, limit, remaining, reset) in [
            (requests, HTTPField.Name.rateLimitRequests, .rateRemainingRequests, .rateResetRequests),
            (tokens, HTTPField.Name.rateLimitTokens, .rateRemainingTokens, .rateResetTokens),
        ] as [(RateNote.Rate?, HTTPField.Name, HTTPField.Name, HTTPField.Name)] {
            guard let rate else { continue }
            fields[limit] = "\(rate.limit)"
            fields[remaining] = "\(rate.remaining)"
            fields[reset] = "\(rate.resetSeconds)s"
        }
        return fields
    }
}

extension HTTPField.Name {
    fileprivate static let rateLimitRequests = HTTPField.Name("X-RateLimit-Limit-Requests")!
    fileprivate static let rateRemainingRequests = HTTPField.Name("X-RateLimit-Remaining-Requests")!
    fileprivate static let rateResetRequests = HTTPField.Name("X-RateLimit-Reset-Requests")!
    fileprivate static let rateLimitTokens = HTTPField.Name("X-RateLimit-Limit-Tokens")!
    fileprivate static let rateRemainingTokens = HTTPField.Name("X-RateLimit-Remaining-Tokens")!
    fileprivate static let rateResetTokens = HTTPField.Name("X-RateLimit-Reset-Tokens")!
}
