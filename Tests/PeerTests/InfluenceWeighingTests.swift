// An adapter that was trained on a datanet's rows answers, and those rows are paid by what it learnt of each: where they stood
// in the prompt, and where nobody asked for the datanet at all. Weighed again as an auditor does, and after a server's lies.

import Arithmetic
import Attribution
import Datanets
import Foundation
import Inference
import Ledger
import Logging
import NodeCore
import Primitives
import Records
import Testing
import Training

@testable import Peer

@Suite struct InfluenceWeighingTests {
    private static let things = [
        "lamp", "river", "tower", "horse", "stone", "glove", "mirror", "wheel", "garden", "spoon", "ladder", "candle",
        "bridge", "basket", "hammer", "pillow",
    ]
    private static let colours = [
        "crimson", "silver", "yellow", "purple", "orange", "golden", "black", "violet", "green", "brown", "white",
        "pink", "grey", "blue", "beige", "copper",
    ]

    private static func row(_ place: Int) -> Row {
        Row(
            .pair(
                prompt: "What colour is the \(things[place])?",
                completion: "The \(things[place]) of the old house is \(colours[place])."), id: "thing-\(place)")
    }

    private static func account(_ contributor: Int) throws -> AccountID {
        AccountID(try SigningKey(seed: [UInt8](repeating: UInt8(contributor + 1), count: 32)).publicKey)
    }

    private struct Bench {
        let home: TestHome
        let open: TestHome.Open
        let model: CID
        let adapter: CID
        let trained: TestDatanet
        let lines: [UInt8]

        /// Two contributors, eight rows each; one adapter that knows all of them, or all but every so manieth.
        init(heldOutEvery: Int = 0) async throws {
            home = try TestHome()
            open = try home.open()
            let (model, _) = try open.shelf.importFolder(path: Starter.model, kind: .model, name: "starter")
            self.model = model
            let rows = (0..<16).map(InfluenceWeighingTests.row)
            trained = try TestDatanet([Array(rows[..<8]), Array(rows[8...])])
            var settings = TrainingSettings()
            settings.steps = 100
            settings.batch = 8
            settings.rank = 4
            settings.alpha = 8
            settings.learningRate = 0.01
            settings.schedule = .cosine
            settings.heldOutEvery = heldOutEvery
            var order = TrainingOrder(model: model, modelName: "starter", name: "things", settings: settings)
            order.datanet = trained.held.snapshot
            // As an export of the datanet writes them.
            let kept = rows.enumerated().filter { heldOutEvery == 0 || ($0.offset + 1) % heldOutEvery != 0 }
            let written = kept.map { _, row in
                #"{"id":"\#(row.id ?? "")","prompt":"\#(row.prompt)","completion":"\#(row.completion)","license":"WordNet-3.0"}"#
            }
            lines = Array(written.joined(separator: "\n").utf8)
            let desk = TrainingDesk(
                path: "\(home.path)/trainings",
                means: TrainingMeans(
                    shelf: open.shelf, key: try SigningKey(seed: [UInt8](repeating: 1, count: 32)),
                    network: NetworkID(.zero), threads: 1, room: WeightRoom(bytesMax: nil), prepared: nil,
                    isServing: { false }), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            ) { _, _ in }
            desk.begin()
            defer { desk.close() }
            let (run, _) = try desk.start(
                order, rows: lines, evaluation: nil, initial: [])
            var last: JSONValue?
            let listener = desk.listener(of: run)
            while let event = try await listener.next() { last = event }
            adapter = try CID(text: try #require(last?["id"]?.text, "\(run.state) \(run.reason ?? "")"))
        }

        func service(_ datanet: TestDatanet, scoringTokensMax: Int = WeighingLimits.scoringTokensMax) throws
            -> InferenceService
        {
            let peer = try SigningKey(seed: [UInt8](repeating: 3, count: 32)).publicKey.peerID
            return InferenceService(
                shelf: open.shelf, library: datanet.library, book: try AdapterBook(store: nil), peer: peer,
                precision: "f32", scoringTokensMax: scoringTokensMax)
        }

        func order(_ place: Int, datanet: TestDatanet? = nil) throws -> AskOrder {
            try PeerTests.order(
                model, adapters: [AdapterUse(adapter: adapter, owner: nil)],
                datanet: datanet?.held.id.digest,
                prompt: .messages([AskMessage(role: "user", content: InfluenceWeighingTests.row(place).prompt)]),
                decoding: Decoding(maxTokens: 32), precision: "f32")
        }
    }

    private struct Answered {
        let order: AskOrder
        let start: AnswerStart
        let tokens: [UInt32]
        let text: String
        let weighed: WeighedAnswer
    }

    private func answered(_ service: InferenceService, _ order: AskOrder) async throws -> Answered {
        let box = NewsBox()
        service.generate(order, ticket: Ticket(1), news: box.take)
        let answer = await box.answer()
        let start = try #require(answer.start, "\(answer.fault ?? "")")
        let weighed = await withCheckedContinuation { done in
            service.weigh(WeighingOrder(order: order, start: start, answerTokens: answer.tokens)) {
                done.resume(returning: $0)
            }
        }
        return Answered(order: order, start: start, tokens: answer.tokens, text: answer.text, weighed: weighed)
    }

    private func reweighed(
        _ service: InferenceService, _ answered: Answered, _ change: (inout Receipt) -> Void = { _ in }
    ) async throws -> Reweighing {
        var receipt = try billed(answered.order, answered.start, answered.tokens, answered.weighed)
        change(&receipt)
        let lie = receipt
        return await withCheckedContinuation { done in
            service.reweigh(
                ReweighingOrder(receipt: lie, order: answered.order, answerTokens: answered.tokens)
            ) { done.resume(returning: $0) }
        }
    }

    @Test func whatWasLearntIsPaid() async throws {
        let bench = try await Bench(), service = try bench.service(bench.trained)
        let snapshot = bench.trained.held.snapshot
        // Nobody asked for the datanet; the adapter's own rows are weighed.
        for place in [2, 11] {
            let answered = try await answered(service, try bench.order(place))
            #expect(answered.text == InfluenceWeighingTests.row(place).completion)
            #expect(answered.start.sources.isEmpty && answered.start.data.snapshots == [snapshot])
            let data = answered.weighed.data
            #expect(data.retrieval?.method == "influence+spans" && data.retrieval?.passages == 0)
            #expect(data.retrieval?.settings == ["influence": 65_536, "spans": 65_536])
            #expect(data.snapshots == [snapshot] && data.indexes.count == 2)
            #expect(SourceLedger.holds(answered.weighed.sources, told: [], snapshots: [snapshot]))
            let first = try #require(answered.weighed.sources.first)
            #expect(first.row == UInt64(place) && first.share.value > 500_000, "\(first.row) \(first.share)")
            #expect(first.contributor == (try InfluenceWeighingTests.account(place / 8)))
            #expect(try await reweighed(service, answered) == .done(.same))
        }
        // And where it was asked for, beside what its passages did.
        let answered = try await answered(service, try bench.order(5, datanet: bench.trained))
        #expect(answered.weighed.data.retrieval?.method == "influence+retrieval+spans")
        #expect(answered.weighed.sources.first?.row == 5)
        #expect(try await reweighed(service, answered) == .done(.same))
        // Another peer with the same files says the same.
        #expect(try await reweighed(try bench.service(bench.trained), answered) == .done(.same))
    }

    @Test func liesAreSeen() async throws {
        let bench = try await Bench(), service = try bench.service(bench.trained)
        let answered = try await answered(service, try bench.order(3))
        func found(_ change: (inout Receipt) -> Void) async throws -> ShareOutcome? {
            guard case .done(let outcome) = try await reweighed(service, answered, change) else { return nil }
            return outcome
        }
        let thief = [Contributor(account: try InfluenceWeighingTests.account(1), share: .whole)]
        guard case .differs(.rows, _, let contributors) = try await found({ $0.data.contributors = thief }) else {
            Issue.record("somebody else is paid, and nobody sees it")
            return
        }
        #expect(contributors == SourceLedger.contributors(of: answered.weighed.sources))
        #expect(try await found { $0.data.retrieval?.method = "spans" } == .differs(.settings))
        #expect(try await found { $0.data.indexes.removeLast() } == .differs(.index))
        #expect(try await found { $0.data.indexes[1] = bench.model } == .differs(.index))
        #expect(try await found { $0.data.retrieval?.method = "bm25" } == .differs(.method))
        #expect(try await found { $0.data.snapshots = [bench.model] } == .differs(.snapshot))
        #expect(try await found { $0.data = .none } == .unable("unweighed"), "it did not say what it drew on")
    }

    /// A datanet that has grown since has the same first rows; one whose rows stand otherwise has not.
    @Test func anIndexCountsForItsOwnRowsOnly() async throws {
        let bench = try await Bench(), rows = (0..<16).map(InfluenceWeighingTests.row)
        let more = Row(.pair(prompt: "Who built the house?", completion: "A mason from the north built the house."))
        let grown = try TestDatanet([Array(rows[..<8]), Array(rows[8...]), [more]])
        let service = try bench.service(grown)
        let later = try await answered(service, try bench.order(4, datanet: grown))
        #expect(later.weighed.data.retrieval?.method == "influence+retrieval+spans")
        #expect(later.weighed.sources.first?.row == 4)
        #expect(try await reweighed(service, later) == .done(.same))

        let turned = try TestDatanet([Array(rows[8...]), Array(rows[..<8])])
        let other = try bench.service(turned)
        let answer = try await answered(other, try bench.order(4, datanet: turned))
        #expect(answer.weighed.data.retrieval?.method == "retrieval+spans")
        #expect(try await reweighed(other, answer) == .done(.same))
        // A server that names it all the same is seen.
        let lie = try await reweighed(other, answer) { $0.data.retrieval?.method = "influence+retrieval+spans" }
        #expect(lie == .done(.differs(.index)))

        // Whoever wants no computing for evidence has spans alone.
        let quiet = try bench.service(grown, scoringTokensMax: 0)
        #expect(try await answered(quiet, try bench.order(4)).weighed.data.retrieval?.method == "spans")
    }

    /// Rows that were kept to judge by have no influence, and the others keep their numbers.
    @Test func rowsThatWereHeldOutAreLeftOut() async throws {
        let bench = try await Bench(heldOutEvery: 4), service = try bench.service(bench.trained)
        for place in [5, 13] {
            let answered = try await answered(service, try bench.order(place))
            #expect(answered.weighed.data.retrieval?.method == "influence+spans")
            #expect(answered.weighed.sources.first?.row == UInt64(place))
            #expect(try await reweighed(service, answered) == .done(.same))
        }
        let held = bench.trained.held
        let influence = try #require(
            try service.influences.index(
                of: bench.adapter, rowsOf: held, on: bench.open.shelf, from: bench.trained.library))
        #expect(influence.index.rowCount == 12 && influence.places.heldOutEvery == 4)
        let scores = influence.scores([Int8](repeating: 1, count: influence.index.shape.columns))
        #expect(scores.count == 15 && [3, 7, 11].allSatisfy { scores[$0] == 0 })
    }

    private func verified(
        _ bench: Bench, _ adapter: CID, _ rows: [UInt8], trainsAgain: Bool = false
    ) throws -> [String: String] {
        let verification = AdapterVerification(
            shelf: bench.open.shelf, base: bench.model, adapter: adapter, network: NetworkID(.zero), rows: rows,
            file: "rows", initial: [], trainsAgain: trainsAgain, threads: 2, room: WeightRoom(bytesMax: nil))
        let ending = try verification.run { _ in
        } while: {
            true
        }
        var verdicts: [String: String] = [:]
        for check in ending["checks"]?.items ?? [] {
            verdicts[check["name"]?.text ?? ""] = check["verdict"]?.text
        }
        #expect(ending["holds"]?.flag == !verdicts.values.contains("fail"))
        return verdicts
    }

    /// Whoever has the base and the rows needs to trust no maker: weights and index come out again, to the last bit.
    @Test func whatItsMakerSignedIsComputedAgain() async throws {
        let bench = try await Bench()
        let whole = try verified(bench, bench.adapter, bench.lines, trainsAgain: true)
        #expect(whole.count == 6 && whole.values.allSatisfy { $0 == "pass" }, "\(whole)")
        #expect(try verified(bench, bench.adapter, bench.lines)["training"] == "skipped")
        let other = Array(String(decoding: bench.lines, as: UTF8.self).replacing("crimson", with: "scarlet").utf8)
        let wrong = try verified(bench, bench.adapter, other)
        #expect(wrong["rows"] == "fail" && wrong["index"] == nil)

        // A maker who gives one row more than it has, and signs that.
        let folder = try bench.open.shelf.folder(bench.adapter)
        let (manifest, _) = try bench.open.shelf.trainingManifest(of: bench.adapter)
        var index = [UInt8](try #require(folder.bytes(of: InfluenceIndex.fileName)))
        let shape = try InfluenceIndex(decoding: index).shape
        let place: Int = 16 + 4 * shape.matrices.count + 9 * shape.rowBytes + 3
        index[place] = index[place] ^ 1
        var named: [String: String] = [:]
        for setting in manifest.settings { named[setting.name] = setting.value }
        // And says that it was trained in a way that nothing is.
        named["lr"] = "nan"
        named["steps"] = "9000000000"
        let settings = try #require(TrainingSettings(named: named))
        let signed = TrainingManifest(
            base: manifest.base, datanet: manifest.datanet, rows: manifest.rows, rowCount: Int(manifest.rowCount),
            numerics: manifest.numerics, precision: manifest.precision, settings: settings, initial: nil,
            weights: manifest.weights, steps: Int(manifest.steps), influence: CID(.raw, hashing: index))
        let thief = try SigningKey(seed: [UInt8](repeating: 5, count: 32))
        let envelope = SignedEnvelope(signed.encoded(), by: thief, domain: .training, network: NetworkID(.zero))
        let path = "\(bench.home.path)/forged"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        for name in [PEFTFolder.configName, PEFTFolder.weightsName] {
            try Data([UInt8](try #require(folder.bytes(of: name)))).write(to: URL(filePath: "\(path)/\(name)"))
        }
        try Data(index).write(to: URL(filePath: "\(path)/\(InfluenceIndex.fileName)"))
        try Data(envelope.encoded()).write(to: URL(filePath: "\(path)/\(TrainingManifest.fileName)"))
        let (forged, _) = try bench.open.shelf.importFolder(
            path: path, kind: .adapter, name: "forged", base: bench.model)
        let verdicts = try verified(bench, forged, bench.lines, trainsAgain: true)
        #expect(verdicts["index"] == "fail" && verdicts["signature"] == "pass" && verdicts["weights"] == "pass")
        #expect(verdicts["training"] == "fail")
    }
}
