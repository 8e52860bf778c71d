import Primitives
import Synchronization
import Testing

@testable import Gateway

/// Rates and spend as values.
@Suite struct KeyBookTests {
    private static let digest = Digest(sha256: [1])
    private static let wall = WallTime(milliseconds: 1_700_000_000_000)
    private static let free = AnswerPrice(request: .zero, promptToken: .zero, answerToken: .zero)
    private static let price = AnswerPrice(
        request: .zero, promptToken: Amount(baseUnits: 1), answerToken: Amount(baseUnits: 10))

    private static func book(_ limits: APIKeyLimits, spent: Amount = .zero) -> KeyBook {
        KeyBook(
            [APIKeyRecord(digest: digest, name: "shop", limits: limits, created: wall, spent: spent)], now: .start)
    }

    private static func estimate(prompt: Int = 10, answer: Int? = 10, choices: Int = 1) -> AnswerEstimate {
        AnswerEstimate(promptTokens: prompt, promptTokensMax: prompt, choices: choices, answerTokensMax: answer)
    }

    private static func reservation(_ action: KeyAction) throws -> KeyReservation {
        guard case .admitted(let reservation) = action else { throw RawFault(reason: "\(action)") }
        return reservation
    }

    @Test func aBucketFillsEvenly() {
        var bucket = TokenBucket(perMinute: 60, now: .start)
        #expect(bucket.wait(for: 60, at: .start) == 0)
        bucket.take(60, at: .start)
        #expect(bucket.remaining(at: .start) == 0)
        #expect(bucket.wait(for: 1, at: .start) == 1)
        let later = Instant.start + .seconds(10)
        #expect(bucket.remaining(at: later) == 10)
        #expect(bucket.untilFull(at: later) == 50)
        // It never holds more than a minute's worth, and what is larger than that waits for all of it.
        let muchLater = Instant.start + .seconds(3_600)
        #expect(bucket.remaining(at: muchLater) == 60)
        #expect(bucket.wait(for: 1_000, at: muchLater) == 0)
        bucket.take(100, at: muchLater)
        #expect(bucket.remaining(at: muchLater) == 0)
        #expect(bucket.wait(for: 1, at: muchLater) == 41)
        bucket.take(-30, at: muchLater)
        #expect(bucket.wait(for: 1, at: muchLater) == 11)
    }

    @Test func requestsAMinute() throws {
        var book = Self.book(APIKeyLimits(requestsPerMinute: 2))
        for _ in 0..<2 {
            _ = try Self.reservation(
                book.admit(Self.digest, Self.estimate(), price: Self.free, now: .start, wall: Self.wall))
        }
        #expect(
            book.admit(Self.digest, Self.estimate(), price: Self.free, now: .start, wall: Self.wall)
                == .wait(seconds: 30, rate: "requests", perMinute: 2))
        let later = Instant.start + .seconds(30)
        _ = try Self.reservation(
            book.admit(Self.digest, Self.estimate(), price: Self.free, now: later, wall: Self.wall))
        #expect(book.note(Self.digest, now: later)?.requests?.remaining == 0)
        #expect(
            book.admit(Digest(sha256: [2]), Self.estimate(), price: Self.free, now: later, wall: Self.wall) == .unknown)
    }

    @Test func tokensAMinuteAreSettledAfterwards() throws {
        var book = Self.book(APIKeyLimits(tokensPerMinute: 100))
        let first = try Self.reservation(
            book.admit(Self.digest, Self.estimate(answer: 70), price: Self.free, now: .start, wall: Self.wall))
        #expect(first.tokens == 80 && first.answerTokensMax == 70 && !first.maySpend)
        #expect(
            book.admit(Self.digest, Self.estimate(answer: 20), price: Self.free, now: .start, wall: Self.wall)
                == .wait(seconds: 6, rate: "tokens", perMinute: 100))
        let kept = book.settle(first, requests: 1, tokens: 12, cost: .zero, now: .start, wall: Self.wall)
        #expect(kept?.tokens == 12 && kept?.requests == 1)
        #expect(book.note(Self.digest, now: .start)?.tokens?.remaining == 88)
        // One that names no limit is let in while the vessel is full enough for what is expected of it.
        #expect(
            book.admit(Self.digest, Self.estimate(answer: nil), price: Self.free, now: .start, wall: Self.wall)
                == .wait(seconds: 8, rate: "tokens", perMinute: 100))
    }

    @Test func spendIsReservedThenSettled() throws {
        var book = Self.book(APIKeyLimits(spend: Amount(baseUnits: 200)))
        let first = try Self.reservation(
            book.admit(Self.digest, Self.estimate(), price: Self.price, now: .start, wall: Self.wall))
        #expect(first.cost == Amount(baseUnits: 110) && first.maySpend)
        #expect(book.record(Self.digest)?.spent == Amount(baseUnits: 110))
        // 90 are left: the prompt's 10, and 8 tokens.
        let second = try Self.reservation(
            book.admit(Self.digest, Self.estimate(answer: nil), price: Self.price, now: .start, wall: Self.wall))
        #expect(second.answerTokensMax == 8 && second.cost == Amount(baseUnits: 90))
        #expect(
            book.admit(Self.digest, Self.estimate(), price: Self.price, now: .start, wall: Self.wall)
                == .spent(limit: Amount(baseUnits: 200), remaining: .zero))
        _ = book.settle(first, requests: 1, tokens: 13, cost: Amount(baseUnits: 40), now: .start, wall: Self.wall)
        let kept = book.settle(
            second, requests: 1, tokens: 18, cost: Amount(baseUnits: 90), now: .start, wall: Self.wall)
        #expect(kept?.spent == Amount(baseUnits: 130))
        #expect(
            book.admit(
                Self.digest, Self.estimate(prompt: 61), price: Self.price, now: .start, wall: Self.wall)
                == .spent(limit: Amount(baseUnits: 200), remaining: Amount(baseUnits: 70)))
        // Two choices share what is left.
        let both = try Self.reservation(
            book.admit(Self.digest, Self.estimate(choices: 2), price: Self.price, now: .start, wall: Self.wall))
        #expect(both.answerTokensMax == 3)
    }

    @Test func aPeriodStartsAnew() throws {
        var book = Self.book(APIKeyLimits(spend: Amount(baseUnits: 100), period: .day), spent: Amount(baseUnits: 100))
        #expect(
            book.admit(Self.digest, Self.estimate(), price: Self.price, now: .start, wall: Self.wall)
                == .spent(limit: Amount(baseUnits: 100), remaining: .zero))
        let tomorrow = Self.wall.adding(milliseconds: 86_400_000)
        let taken = try Self.reservation(
            book.admit(Self.digest, Self.estimate(answer: 5), price: Self.price, now: .start, wall: tomorrow))
        #expect(taken.cost == Amount(baseUnits: 60))
        #expect(book.record(Self.digest)?.period == 1)
        // A clock that goes back opens no new period.
        #expect(
            book.admit(Self.digest, Self.estimate(answer: 50), price: Self.price, now: .start, wall: Self.wall)
                != .unknown)
        #expect(book.record(Self.digest)?.period == 1)
    }

    @Test func hugeNumbersDoNotTrap() throws {
        var book = Self.book(APIKeyLimits(tokensPerMinute: 5, spend: .most))
        let price = AnswerPrice(request: .most, promptToken: .most, answerToken: .most)
        let estimate = AnswerEstimate(
            requests: .max, promptTokens: .max, promptTokensMax: .max, choices: .max, answerTokensMax: .max)
        let action = book.admit(Self.digest, estimate, price: price, now: .start, wall: Self.wall)
        if case .admitted(let reservation) = action {
            _ = book.settle(
                reservation, requests: .max, tokens: .max, cost: .most, now: .start, wall: Self.wall)
        }
    }

    @Test func replaysAreBoundedAndForgotten() {
        var table = ReplayTable()
        let key = ReplayKey(tenant: "t", text: "k"), body = Digest(sha256: [1])
        let answer = RecordedAnswer(type: "t", receiptID: nil, body: [1, 2])
        #expect(table.begin(key, body: body, now: .start) == .begin)
        #expect(table.begin(key, body: body, now: .start) == .running)
        #expect(table.begin(key, body: Digest(sha256: [2]), now: .start) == .otherBody)
        table.end(key, nil, now: .start)
        #expect(table.begin(key, body: body, now: .start) == .begin)
        table.end(key, answer, now: .start)
        // The second end is no end.
        table.end(key, nil, now: .start)
        #expect(table.begin(key, body: body, now: .start) == .replay(answer))
        #expect(table.begin(key, body: body, now: .start + .minutes(11)) == .begin)
        let large = RecordedAnswer(
            type: "t", receiptID: nil, body: [UInt8](repeating: 0, count: ReplayTable.answerBytesMax))
        var kept = 0
        for index in 0..<64 {
            let key = ReplayKey(tenant: "t", text: "\(index)")
            #expect(table.begin(key, body: body, now: .start) == .begin)
            table.end(key, large, now: .start)
        }
        for index in 0..<64 {
            let key = ReplayKey(tenant: "t", text: "\(index)")
            if case .replay = table.begin(key, body: body, now: .start) { kept += 1 }
        }
        #expect(kept == ReplayTable.bytesMax / ReplayTable.answerBytesMax)
    }
}

/// The owner's keys, over HTTP.
@Suite(.serialized) struct KeyRouteTests {
    private static func chat(_ model: String = "free", _ extra: String = "") -> String {
        #"{"model":"\#(model)","messages":[{"role":"user","content":"hi"}]\#(extra)}"#
    }

    private static func make(_ peer: TestGateway, _ body: String) async throws -> (id: String, key: String) {
        let answer = try await peer.ask("POST", "/api/v1/keys", body, token: TestGateway.token.text)
        #expect(answer.status == 201, "\(answer.text)")
        return (try answer.json()["id"]?.text ?? "", try answer.json()["key"]?.text ?? "")
    }

    @Test func aKeyIsShownOnceListedAndRevoked() async throws {
        try await TestGateway.with(keys: MemoryKeys()) { (peer) async throws in
            let owner = TestGateway.token.text
            #expect(try await peer.ask("GET", "/api/v1/keys").status == 401)
            #expect(try await peer.ask("POST", "/api/v1/keys", #"{"name":"shop"}"#).status == 401)
            let (id, key) = try await Self.make(
                peer, #"{"name":"shop","requests_per_minute":60,"spend_limit":"1.5","spend_period":"day"}"#)
            #expect(key.hasPrefix("olk_") && id == Digest(sha256: Array(key.utf8)).hex.prefix(16))
            let list = try await peer.ask("GET", "/api/v1/keys", token: owner)
            #expect(!list.text.contains(key) && !list.text.contains("olk_"))
            let shown = try list.json()["keys"]?.items?.first
            #expect(shown?["name"]?.text == "shop" && shown?["spend_limit"]?.text == "1.5")
            #expect(shown?["tokens_per_minute"] == .null && shown?["spend_period"]?.text == "day")
            #expect(try await peer.ask("GET", "/api/v1/keys/shop", token: owner).json()["id"]?.text == id)
            #expect(try await peer.ask("POST", "/api/v1/keys", #"{"name":"shop"}"#, token: owner).status == 409)
            for (body, param) in [
                ("{}", "name"), (#"{"name":"x","requests_per_minute":0}"#, "requests_per_minute"),
                (#"{"name":"x","spend_limit":"many"}"#, "spend_limit"),
                (#"{"name":"x","spend_period":"year"}"#, "spend_period"),
            ] {
                let answer = try await peer.ask("POST", "/api/v1/keys", body, token: owner)
                #expect(answer.status == 400)
                #expect(try answer.param() == param)
            }
            // A key asks, and changes nothing.
            #expect(try await peer.ask("POST", "/v1/chat/completions", Self.chat(), token: key).status == 200)
            #expect(peer.node.notes.withLock { $0.requests.last?.tenant } == id)
            #expect(try await peer.ask("POST", "/api/v1/keys", #"{"name":"y"}"#, token: key).status == 401)
            #expect(try await peer.ask("DELETE", "/api/v1/keys/\(id)", token: owner).json()["revoked"]?.flag == true)
            #expect(try await peer.ask("POST", "/v1/chat/completions", Self.chat(), token: key).status == 401)
            #expect(try await peer.ask("DELETE", "/api/v1/keys/\(id)", token: owner).status == 404)
        }
    }

    @Test func ratesAreKeptAndSaid() async throws {
        try await TestGateway.with(keys: MemoryKeys()) { (peer) async throws in
            let (_, key) = try await Self.make(
                peer, #"{"name":"shop","requests_per_minute":2,"tokens_per_minute":100000}"#)
            let path = "/v1/chat/completions"
            let first = try await peer.ask("POST", path, Self.chat(), token: key)
            #expect(first.header("x-ratelimit-limit-requests") == "2")
            #expect(first.header("x-ratelimit-remaining-requests") == "1")
            #expect(first.header("x-ratelimit-limit-tokens") == "100000")
            #expect(first.header("x-ratelimit-reset-requests")?.hasSuffix("s") == true)
            let streamed = try await peer.ask("POST", path, Self.chat("free", #","stream":true"#), token: key)
            #expect(streamed.header("x-ratelimit-remaining-requests") == "0")
            for (path, body) in [
                (path, Self.chat()), ("/tokenize", #"{"model":"starter","prompt":"a"}"#),
                ("/v1/embeddings", #"{"model":"embedder","input":"a"}"#),
                ("/api/generate", #"{"model":"starter","prompt":"a"}"#),
            ] {
                let refused = try await peer.ask("POST", path, body, token: key)
                #expect(refused.status == 429, "\(path)")
                #expect((refused.header("retry-after").flatMap { Int($0) } ?? 0) > 0)
                #expect(refused.header("x-ratelimit-remaining-requests") == "0")
            }
            // Others are not held up.
            #expect(try await peer.ask("POST", path, Self.chat()).status == 200)
            #expect(try await peer.ask("POST", path, Self.chat(), token: TestGateway.apiKey).status == 200)
        }
    }

    @Test func spendSurvivesARestart() async throws {
        let store = MemoryKeys()
        let key = Mutex("")
        try await TestGateway.with(keys: store) { (peer) async throws in
            // Each answer: 0.001 for the request, 41 prompt tokens, 10 answer tokens: 0.001141 in all.
            let made = try await Self.make(peer, #"{"name":"shop","spend_limit":"0.0024"}"#)
            key.withLock { $0 = made.key }
            let answer = try await peer.ask(
                "POST", "/v1/chat/completions", Self.chat("free", #","max_tokens":10"#), token: made.key)
            #expect(answer.status == 200)
            #expect(try await Self.settled(peer, made.id) == "0.001141")
            // Paid answers count with their receipt; the key may have them, up to its limit.
            let paid = try await peer.ask(
                "POST", "/v1/chat/completions", Self.chat("remote", #","max_tokens":10"#), token: made.key)
            #expect(paid.status == 200)
            let request = peer.node.notes.withLock { $0.requests.last }
            #expect(request?.maySpend == true && (request?.priceMax ?? .most) <= Amount(text: "0.001259") ?? .zero)
            #expect(try await Self.settled(peer, made.id) == "0.001551")
        }
        try await TestGateway.with(keys: store) { (peer) async throws in
            let refused = try await peer.ask(
                "POST", "/v1/chat/completions", Self.chat(), token: key.withLock { $0 })
            #expect(refused.status == 402, "\(refused.text)")
            #expect(try refused.code() == "spend_limit")
        }
    }

    /// The answer's end is settled when the last of it is let go, a moment after it was heard.
    private static func settled(_ peer: TestGateway, _ id: String) async throws -> String? {
        try await Task.sleep(for: .milliseconds(200))
        return try await peer.ask("GET", "/api/v1/keys/\(id)", token: TestGateway.token.text).json()["spent"]?.text
    }

    @Test func aClientThatLeavesPaysForWhatItGot() async throws {
        try await TestGateway.with(keys: MemoryKeys()) { (peer) async throws in
            let made = try await Self.make(peer, #"{"name":"shop","spend_limit":"1"}"#)
            let connection = try RawConnection(port: peer.address.port)
            try connection.send(
                peer.request(
                    "POST", "/v1/chat/completions", Self.chat("endless", #","stream":true"#), token: made.key))
            #expect(try await connection.line().contains("200"))
            try await Task.sleep(for: .milliseconds(100))
            connection.shut()
            var spent = Amount.most
            for _ in 0..<100 where spent > Amount(baseUnits: 10_000_000_000_000_000) {
                try await Task.sleep(for: .milliseconds(20))
                spent = try await Self.settled(peer, made.id).flatMap { Amount(text: $0) } ?? .most
            }
            // A thousandth for the request, and some tokens: far from the 0.011 that was reserved.
            #expect(spent > Amount(baseUnits: 1_000_000_000_000_000))
            #expect(spent < Amount(baseUnits: 10_000_000_000_000_000))
        }
    }
}
