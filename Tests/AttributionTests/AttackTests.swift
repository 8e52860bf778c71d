import Datanets
import Foundation
import Ledger
import Primitives
import Testing

@testable import Attribution

private func account(_ number: UInt8) throws -> AccountID {
    try SigningKey(seed: [UInt8](repeating: number, count: 32)).publicKey.account
}

/// Rows of the starter's food datanet without repetitions.
private func starter(_ count: Int) throws -> [Row] {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    let url = root.appendingPathComponent("Bootstrap/starter/datanets/food.jsonl")
    let lines = try Data(contentsOf: url).split(separator: 0x0a).prefix(count * 3).joined(separator: [0x0a])
    var known: Set<Digest> = []
    let rows = RowFile(jsonl: Array(lines), name: "food").rows.map(\.row).filter {
        known.insert($0.completionHash).inserted
    }
    return Array(rows.prefix(count))
}

/// What is done with an answer, from the rows to whom they pay; the language model is a table of the words that follow
/// two others, and a gradient is the words of a row, hashed.
private struct Market {
    struct Guards: OptionSet {
        let rawValue: Int
        static let clusters = Guards(rawValue: 1)
        static let echoes = Guards(rawValue: 2)
        static let all: Guards = [.clusters, .echoes]
    }

    let rows: [(contributor: AccountID, row: Row)]
    let guards: Guards
    private let retrieval: RetrievalIndex
    private let corpus: SpanCorpus
    private let influence: InfluenceIndex
    private let owners: [UInt32]
    private let ordinals: [RowAddress: UInt32]

    init(_ contributions: [(AccountID, [Row])], guards: Guards = .all) throws {
        let snapshot = CID(.dagCBOR, hashing: [UInt8(contributions.count)])
        var retrieval = RetrievalIndex(snapshot: snapshot)
        var corpus = SpanCorpusBuilder()
        var near = NearDuplicates(snapshot: snapshot)
        var influence = InfluenceIndexBuilder(try InfluenceShape(matrices: [32, 32, 32]))
        var rows: [(AccountID, Row)] = []
        var ordinals: [RowAddress: UInt32] = [:]
        for (contributor, given) in contributions {
            for shard in Shard.cut(given, contributor: contributor, licence: "CC0") {
                let cid = CID(.dagCBOR, hashing: shard.encoded())
                retrieval.add(ShardIndex(shard, cid: cid))
                for (index, row) in shard.rows.enumerated() {
                    let address = RowAddress(shard: cid, index: UInt32(index))
                    if ordinals[address] == nil { ordinals[address] = UInt32(rows.count) }
                    rows.append((contributor, row))
                    corpus.add(Self.tokens(row.completion))
                    let ordinal = UInt32(rows.count - 1)
                    let isOwner = near.add(row) == ordinal || !guards.contains(.clusters)
                    influence.add(Self.gradient(row.prompt + " " + row.completion), isOwner: isOwner)
                }
            }
        }
        self.rows = rows
        self.guards = guards
        self.retrieval = retrieval
        self.corpus = corpus.finish()
        self.influence = try influence.finish()
        self.ordinals = ordinals
        owners = guards.contains(.clusters) ? near.owners : rows.indices.map { UInt32($0) }
    }

    private static func hash(_ word: Substring) -> UInt64 {
        word.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }

    private static func tokens(_ text: String) -> [Int32] {
        text.lowercased().split { !$0.isLetter && !$0.isNumber }.map { Int32(truncatingIfNeeded: hash($0) & 0xf_ffff) }
    }

    private static func gradient(_ text: String) -> [Float] {
        var sums = [Float](repeating: 0, count: 96)
        let words = text.lowercased().split { !$0.isLetter && !$0.isNumber }
        for word in words {
            var hash = hash(word)
            for part in 0..<3 {
                hash = (hash ^ hash >> 31) &* 0x9e37_79b9_7f4a_7c15
                sums[part * 32 + Int(hash >> 59)] += hash & 1 == 0 ? 1 : -1
            }
        }
        return sums.map { $0 / Float(max(1, words.count)) }
    }

    /// The answer's log-probability after some passages.
    private func value(_ answer: [Int32], _ passages: [[Int32]]) -> Int64 {
        var pairs: Set<[Int32]> = [], triples: Set<[Int32]> = []
        for passage in passages {
            for place in passage.indices.dropFirst() { pairs.insert(Array(passage[place - 1...place])) }
            for place in passage.indices.dropFirst(2) { triples.insert(Array(passage[place - 2...place])) }
        }
        var sum = 0.0
        for place in answer.indices {
            if place >= 2, triples.contains(Array(answer[place - 2...place])) {
                sum -= 0.1
            } else if place >= 1, pairs.contains(Array(answer[place - 1...place])) {
                sum -= 1.2
            } else {
                sum -= 5
            }
        }
        return PassageEffect.value(sum)
    }

    /// Parts per million by contributor.
    func shares(_ question: String, _ answer: String) throws -> [AccountID: UInt32] {
        try paid(question, answer).reduce(into: [:]) { $0[rows[Int($1.row)].contributor, default: 0] += $1.share }
    }

    /// Parts per million by row.
    func paid(_ question: String, _ answer: String) throws -> [(row: UInt32, share: UInt32)] {
        let words = Self.tokens(answer)
        let passages = retrieval.passages(for: question)
        let numbers = passages.compactMap { ordinals[$0.row] }
        let texts = numbers.map { Self.tokens(rows[Int($0)].row.completion) }
        let sets = PassageEffect.sets(of: numbers.count, seed: .zero)
        let values = sets.map { set in
            value(words, texts.indices.filter { set >> UInt64($0) & 1 == 1 }.map { texts[$0] })
        }
        let effects = PassageEffect.effects(
            of: numbers.count, seed: .zero, values: values, answerTokens: words.count)
        let evidence = zip(numbers, effects).map { (row: $0, weight: $1) }.sorted { $0.row < $1.row }
        let spans = SpanCorpus.evidence(corpus.spans(in: words, owners: owners))
        var weights = Fusion.weights(
            owners: owners, influence: influence.scores(try influence.query(Self.gradient(question + " " + answer))),
            spans: spans.map { ($0.row, Int64(clamping: $0.weight)) }, retrieval: evidence)
        if guards.contains(.echoes) {
            weights = Echoes.settled(weights) {
                Words.split(rows[Int($0)].row.completion)
            } rarity: {
                retrieval.rarity(of: $0)
            }
        }
        let parts = PartsPerMillion.shares(of: weights.map(\.weight))
        return zip(weights, parts).map { ($0.row, $1.value) }
    }
}

/// Six contributors with a hundred rows each; the last attacks. Answers are about everybody's rows: some are said word for
/// word, some shortened, some with words of another.
private struct Scene {
    let honest: [(AccountID, [Row])]
    let attacker: AccountID
    let asked: [(question: String, answer: String)]

    init() throws {
        let rows = try starter(600)
        var honest: [(AccountID, [Row])] = []
        for number in 0..<6 {
            honest.append((try account(UInt8(number + 1)), Array(rows[number * 100..<(number + 1) * 100])))
        }
        self.honest = honest
        attacker = honest[5].0
        var random = SeededRandom(seed: 12)
        asked = stride(from: 0, to: 600, by: 9).map { (number: Int) -> (question: String, answer: String) in
            var words = rows[number].completion.split(separator: " ")
            switch number % 4 {
            case 0: break
            case 1: words = Array(words.prefix(max(4, words.count * 2 / 3)))
            case 2:
                for place in words.indices where random.below(5) == 0 { words[place] = "something" }
            default:
                let other = rows[Int(random.below(600))].completion.split(separator: " ")
                words += other.prefix(5)
            }
            return (rows[number].prompt, words.joined(separator: " "))
        }
    }

    /// What `accounts` earn of all answers together, in millionths of an answer's share for data.
    func earned(_ contributions: [(AccountID, [Row])], _ accounts: [AccountID], _ guards: Market.Guards = .all) throws
        -> Int
    {
        let market = try Market(contributions, guards: guards)
        return try asked.reduce(0) { sum, asked in
            let shares = try market.shares(asked.question, asked.answer)
            return sum + accounts.reduce(0) { $0 + Int(shares[$1] ?? 0) }
        }
    }

    /// What the rows from `first` on earn of all answers together.
    func earned(_ contributions: [(AccountID, [Row])], rowsFrom first: Int, _ guards: Market.Guards = .all) throws
        -> Int
    {
        let market = try Market(contributions, guards: guards)
        return try asked.reduce(0) { sum, asked in
            try market.paid(asked.question, asked.answer).reduce(sum) { $0 + ($1.row >= first ? Int($1.share) : 0) }
        }
    }

    /// Somebody's rows with a part of the words exchanged for other words of the datanet, and sentences turned round.
    func paraphrased(_ rows: [Row], exchanged perMille: UInt64, seed: UInt64) -> [Row] {
        var random = SeededRandom(seed: seed)
        let words = honest.flatMap { $0.1 }.flatMap { $0.completion.split(separator: " ") }
        return rows.map { row in
            var text = row.completion.split(separator: " ")
            for place in text.indices where random.below(1000) < perMille {
                text[place] = words[Int(random.below(UInt64(words.count)))]
            }
            if text.count > 8, random.below(2) == 0 {
                text = Array(text[(text.count / 2)...] + text[..<(text.count / 2)])
            }
            return Row(.pair(prompt: row.prompt, completion: text.joined(separator: " ")))
        }
    }
}

@Suite struct AttackTests {
    @Test func theMarketPaysThoseWhoseRowsWereSaid() throws {
        let scene = try Scene()
        let market = try Market(scene.honest)
        var right = 0
        for (place, asked) in scene.asked.enumerated() {
            let shares = try market.shares(asked.question, asked.answer)
            #expect(shares.isEmpty || shares.values.reduce(0, +) == 1_000_000)
            let owner = scene.honest[place * 9 / 100].0
            if shares.max(by: { $0.value < $1.value })?.key == owner { right += 1 }
        }
        print("attacks: the owner of the row asked for is paid most in \(right) of \(scene.asked.count) answers")
        #expect(right * 10 >= scene.asked.count * 9)
    }

    @Test func copiesAreNotPaid() throws {
        let scene = try Scene()
        let before = try scene.earned(scene.honest, [scene.attacker])
        let loot = scene.honest[0..<5].flatMap { $0.1 }
        let upper = loot.map { Row(.pair(prompt: $0.prompt, completion: $0.completion.uppercased() + " ")) }
        let almost = loot.map { Row(.pair(prompt: "Tell me: " + $0.prompt, completion: $0.completion + " !")) }
        for (name, copies) in [("exact", loot), ("upper case", upper), ("almost", almost)] {
            let contributions = scene.honest + [(scene.attacker, copies)]
            let paid = try scene.earned(contributions, rowsFrom: 600)
            let indirect = try scene.earned(contributions, [scene.attacker]) - before - paid
            let unguarded = try scene.earned(contributions, rowsFrom: 600, [])
            print(
                "attacks: copying (\(name)) 500 rows, \(scene.asked.count) answers: copies are paid \(paid) ppm "
                    + "(unguarded \(unguarded)), the attacker's own rows gain \(indirect) of \(before)")
            #expect(paid == 0)
            // What own rows gain because others' words became common: less than a hundredth.
            #expect(abs(indirect) * 100 < before)
            // The canary: with nothing that looks for copies, one that is not letter for letter is paid.
            if name == "almost" { #expect(unguarded > 0) }
        }
    }

    @Test func paraphrasesArePaidLittle() throws {
        let scene = try Scene()
        let before = try scene.earned(scene.honest, [scene.attacker])
        let loot = scene.honest[0..<5].flatMap { $0.1 }
        for perMille: UInt64 in [0, 100, 200, 300] {
            let copies = scene.paraphrased(loot, exchanged: perMille, seed: perMille + 1)
            let contributions = scene.honest + [(scene.attacker, copies)]
            let paid = try scene.earned(contributions, rowsFrom: 600)
            let indirect = try scene.earned(contributions, [scene.attacker]) - before - paid
            let unguarded = try scene.earned(contributions, rowsFrom: 600, .clusters)
            print(
                "attacks: paraphrases, \(perMille / 10) % of the words exchanged: paid \(paid) ppm, without echoes "
                    + "\(unguarded), the attacker's own rows gain \(indirect) of \(before)")
            // The canary: clusters alone do not see a paraphrase.
            if perMille > 0 { #expect(unguarded > 4_000_000) }
            #expect(paid * 2 < unguarded || unguarded == 0)
        }
    }

    @Test func splittingOverIdentitiesEarnsNothing() throws {
        let scene = try Scene()
        let before = try scene.earned(scene.honest, [scene.attacker])
        let identities = try (0..<10).map { try account(UInt8(100 + $0)) }
        let own = scene.honest[5].1
        let split = identities.enumerated().map { number, identity in
            (identity, Array(own[number * 10..<(number + 1) * 10]))
        }
        let profit = try scene.earned(Array(scene.honest.dropLast()) + split, identities) - before
        print("attacks: ten identities for one: profit \(profit) ppm")
        #expect(profit == 0)
    }

    @Test func identitiesForWhatHindersSaveNothing() throws {
        let scene = try Scene()
        let before = try scene.earned(scene.honest, [scene.attacker])
        // Half of the attacker's rows go to an identity that is thrown away: what the other half loses is what it had.
        let thrown = try account(77)
        let own = scene.honest[5].1
        let kept = own.indices.filter { $0.isMultiple(of: 2) }.map { own[$0] }
        let rest = own.indices.filter { !$0.isMultiple(of: 2) }.map { own[$0] }
        let contributions = Array(scene.honest.dropLast()) + [(scene.attacker, kept), (thrown, rest)]
        let keeps = try scene.earned(contributions, [scene.attacker])
        let together = try scene.earned(contributions, [scene.attacker, thrown])
        print("attacks: throwaway identity: keeps \(keeps - before) ppm, together \(together - before) ppm")
        #expect(keeps <= before)
        #expect(together - before <= 0 || Double(together - before) < Double(before) * 0.001)
    }

    @Test func askingOneselfLoses() throws {
        let scene = try Scene()
        let market = try Market(scene.honest)
        let key = try SigningKey(seed: [UInt8](repeating: 6, count: 32))
        #expect(key.publicKey.account == scene.attacker)
        let fee = Amount.one
        let commitment = try #require(Commitment(salt: [UInt8](repeating: 1, count: 32), content: []))
        var best: Int128 = .min
        for row in scene.honest[5].1 {
            let shares = try market.shares(row.prompt, row.completion)
            let contributors = shares.keys.sorted().map {
                Contributor(account: $0, share: PartsPerMillion(shares[$0] ?? 0))
            }
            // The attacker asks, serves, and owns model and adapter besides the rows.
            let receipt = Receipt(
                network: NetworkID(.zero), allowance: AllowanceID(.zero), sequence: 1, request: .zero, expiry: 1,
                model: ModelUse(
                    weights: CID(.raw, hashing: []), owner: scene.attacker, tokenizer: nil, template: nil,
                    adapters: [AdapterUse(adapter: CID(.raw, hashing: [1]), weight: 1_000_000, owner: scene.attacker)],
                    precision: "f32", numerics: 1),
                decoding: Decoding(maxTokens: 1), prompt: commitment, answer: commitment, promptTokens: 1,
                answerTokens: 1, data: DataUse(rows: .zero, contributors: contributors),
                price: PriceSchedule(request: fee, promptToken: .zero, answerToken: .zero), amount: fee, total: fee,
                payer: scene.attacker, payerKey: key.publicKey, server: scene.attacker, serverKey: key.publicKey)
            let split = FeeSplit(of: fee, shares: .standard, receipt: receipt)
            let back = split.payments.filter { $0.account == scene.attacker }
                .reduce(UInt128(0)) { $0 + $1.amount.baseUnits }
            best = max(best, Int128(back) - Int128(fee.baseUnits))
        }
        print("attacks: asking oneself: best profit \(Double(best) / 1e18) of a fee of 1")
        #expect(best < 0)
    }
}
