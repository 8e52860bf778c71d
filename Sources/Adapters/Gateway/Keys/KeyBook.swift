// What each key may still do, as a value: time is an argument, and what must be kept comes back as a record.
//
//     admit ──▶ reserved (requests, tokens, spend) ──▶ settle: the difference to what was used is given back or taken
//        │ a rate is used up: wait so long          │
//        └ the spend limit is reached: refused      └ a crash in between: what was reserved counts as spent
//
// Spend is what answers are worth: what a neighbour was paid, or this peer's own prices for what its kernels answered.

package import Primitives

/// What answers cost, in OPEN.
package struct AnswerPrice: Sendable, Hashable {
    package var request: Amount
    package var promptToken: Amount
    package var answerToken: Amount

    package init(request: Amount, promptToken: Amount, answerToken: Amount) {
        self.request = request
        self.promptToken = promptToken
        self.answerToken = answerToken
    }

    /// Saturating: whatever does not fit is more than anybody has.
    func cost(requests: Int, promptTokens: Int, answerTokens: Int) -> Amount {
        request.times(requests).plus(promptToken.times(promptTokens)).plus(answerToken.times(answerTokens))
    }
}

extension Amount {
    static let most = Amount(baseUnits: .max)

    func plus(_ other: Amount) -> Amount { (try? adding(other)) ?? .most }
    /// Not below zero.
    func minus(_ other: Amount) -> Amount { self < other ? .zero : Amount(baseUnits: baseUnits - other.baseUnits) }
    func times(_ count: Int) -> Amount { (try? multiplied(by: UInt64(clamping: max(0, count)))) ?? .most }
}

/// What a request is expected to need.
struct AnswerEstimate: Sendable, Hashable {
    /// Generations: prompts of one HTTP request.
    var requests = 1
    var promptTokens: Int
    /// No fewer than it can be: for its cost.
    var promptTokensMax: Int
    /// Of all choices of all prompts together.
    var choices: Int
    /// Each choice's; nil: as many as there is room.
    var answerTokensMax: Int?
}

/// What was taken for a request that runs.
struct KeyReservation: Sendable, Hashable {
    let digest: Digest
    let tokens: Int
    let cost: Amount
    /// What each choice may have: fewer than was asked for where the spend limit leaves less. nil: nothing was said.
    let answerTokensMax: Int?
    let maySpend: Bool
}

/// How far a rate is used, for the x-ratelimit headers.
package struct RateNote: Sendable, Hashable {
    package struct Rate: Sendable, Hashable {
        package var limit: Int
        package var remaining: Int
        package var resetSeconds: Int
    }

    package var requests: Rate?
    package var tokens: Rate?
}

enum KeyAction: Sendable, Hashable {
    case admitted(KeyReservation)
    case wait(seconds: Int, rate: String, perMinute: Int)
    case spent(limit: Amount, remaining: Amount)
    case unknown
}

struct KeyBook: Sendable {
    static let keysMax = 1_024
    /// What a choice is expected to need where the request names no limit.
    private static let answerTokensDefault = 1_024

    fileprivate struct Entry {
        var record: APIKeyRecord
        var reserved = Amount.zero
        var requests: TokenBucket?
        var tokens: TokenBucket?

        var kept: APIKeyRecord {
            var record = record
            record.spent = record.spent.plus(reserved)
            return record
        }
    }

    private var entries: [Digest: Entry] = [:]

    init(_ records: [APIKeyRecord], now: Instant) {
        for record in records.prefix(Self.keysMax) { _ = add(record, now: now) }
    }

    var isEmpty: Bool { entries.isEmpty }

    /// By time made, then digest.
    var records: [APIKeyRecord] {
        entries.values.map(\.kept).sorted { ($0.created, $0.digest.hex) < ($1.created, $1.digest.hex) }
    }

    func record(_ digest: Digest) -> APIKeyRecord? { entries[digest]?.kept }

    /// By id or name.
    func find(_ text: String) -> APIKeyRecord? {
        records.first { $0.id == text } ?? records.first { $0.name == text }
    }

    /// False where it is full.
    mutating func add(_ record: APIKeyRecord, now: Instant) -> Bool {
        guard entries.count < Self.keysMax else { return false }
        entries[record.digest] = Entry(
            record: record, requests: record.limits.requestsPerMinute.map { TokenBucket(perMinute: $0, now: now) },
            tokens: record.limits.tokensPerMinute.map { TokenBucket(perMinute: $0, now: now) })
        return true
    }

    mutating func remove(_ digest: Digest) { entries[digest] = nil }

    /// - Parameter price: of what this peer answers itself.
    mutating func admit(
        _ digest: Digest, _ estimate: AnswerEstimate, price: AnswerPrice, now: Instant, wall: WallTime
    ) -> KeyAction {
        guard var entry = entries[digest] else { return .unknown }
        entry.turnPeriod(wall)
        if let bucket = entry.requests {
            let wait = bucket.wait(for: estimate.requests, at: now)
            if wait > 0 { return .wait(seconds: Self.whole(wait), rate: "requests", perMinute: bucket.perMinute) }
        }
        var granted = estimate.answerTokensMax
        var cost = Amount.zero
        if let limit = entry.record.limits.spend {
            let remaining = limit.minus(entry.record.spent).minus(entry.reserved)
            guard let tokens = Self.affordable(estimate, price, remaining) else {
                return .spent(limit: limit, remaining: remaining)
            }
            granted = tokens
            cost = min(
                remaining,
                price.cost(
                    requests: estimate.requests, promptTokens: estimate.promptTokensMax,
                    answerTokens: Self.product(tokens, estimate.choices)))
        }
        let answer = Self.product(granted ?? Self.answerTokensDefault, estimate.choices)
        let tokens = estimate.promptTokens.addingReportingOverflow(answer)
        let wanted = tokens.overflow ? .max : tokens.partialValue
        var taken = 0
        if let bucket = entry.tokens {
            let wait = bucket.wait(for: wanted, at: now)
            if wait > 0 { return .wait(seconds: Self.whole(wait), rate: "tokens", perMinute: bucket.perMinute) }
            taken = min(wanted, bucket.perMinute)
        }
        entry.requests?.take(estimate.requests, at: now)
        entry.tokens?.take(taken, at: now)
        entry.reserved = entry.reserved.plus(cost)
        entries[digest] = entry
        return .admitted(
            KeyReservation(
                digest: digest, tokens: taken, cost: cost, answerTokensMax: granted,
                maySpend: entry.record.limits.spend != nil))
    }

    /// The answer has ended, however it did.
    /// - Returns: what is to be kept; nil where the key was revoked meanwhile.
    mutating func settle(
        _ reservation: KeyReservation, requests: Int, tokens: Int, cost: Amount, now: Instant, wall: WallTime
    ) -> APIKeyRecord? {
        guard var entry = entries[reservation.digest] else { return nil }
        entry.turnPeriod(wall)
        entry.tokens?.take(max(0, tokens) - reservation.tokens, at: now)
        entry.reserved = entry.reserved.minus(reservation.cost)
        entry.record.spent = entry.record.spent.plus(cost)
        entry.record.requests &+= UInt64(clamping: requests)
        entry.record.tokens &+= UInt64(clamping: tokens)
        entries[reservation.digest] = entry
        return entry.kept
    }

    func note(_ digest: Digest, now: Instant) -> RateNote? {
        guard let entry = entries[digest] else { return nil }
        func rate(_ bucket: TokenBucket) -> RateNote.Rate {
            RateNote.Rate(
                limit: bucket.perMinute, remaining: bucket.remaining(at: now),
                resetSeconds: Self.whole(bucket.untilFull(at: now)))
        }
        return RateNote(requests: entry.requests.map(rate), tokens: entry.tokens.map(rate))
    }

    // MARK: Arithmetic

    /// Tokens for each choice that `remaining` pays for, as far as they are wanted; nil where it pays for none.
    private static func affordable(_ estimate: AnswerEstimate, _ price: AnswerPrice, _ remaining: Amount) -> Int? {
        let before = price.cost(requests: estimate.requests, promptTokens: estimate.promptTokensMax, answerTokens: 0)
        guard remaining > .zero, before <= remaining else { return nil }
        let wanted = estimate.answerTokensMax ?? answerTokensDefault
        let each = price.answerToken.times(max(1, estimate.choices))
        guard each > .zero, wanted > 0 else { return wanted }
        let most = remaining.minus(before).baseUnits / each.baseUnits
        return most == 0 ? nil : min(wanted, Int(clamping: most))
    }

    private static func product(_ count: Int, _ factor: Int) -> Int {
        let (product, overflow) = max(0, count).multipliedReportingOverflow(by: max(1, factor))
        return overflow ? .max : product
    }

    private static func whole(_ seconds: Double) -> Int { Int(min(86_400, seconds.rounded(.up))) }
}

extension KeyBook.Entry {
    fileprivate mutating func turnPeriod(_ wall: WallTime) {
        let current = record.period(at: wall)
        guard current > record.period else { return }
        record.period = current
        record.spent = .zero
    }
}
