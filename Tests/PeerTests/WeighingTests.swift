// An answer of the starter model on rows of its datanet: weighed as the server does, weighed again as an auditor does, and
// again after a server has lied about each thing that an auditor looks at.

import Arithmetic
import Datanets
import Ledger
import NodeCore
import Primitives
import Records
import Testing

@testable import Attribution
@testable import Peer

@Suite struct WeighingTests {
    private struct Bench {
        let home: TestHome
        let service: InferenceService
        let datanet: TestDatanet
        let model: CID

        init(scoringTokensMax: Int = WeighingLimits.scoringTokensMax) throws {
            home = try TestHome()
            let open = try home.open()
            let (model, _) = try open.shelf.importFolder(path: Starter.model, kind: .model, name: "starter")
            self.model = model
            // Three contributors; the last repeats a row of the first's, with another word.
            let brisket = try Starter.rows(["Define brisket."])
            let others = try Starter.rows(["gumbo", "Define chuck short ribs.", "Define beef."])
            let copy = brisket.map { row in
                Row(.pair(prompt: "What might brisket be?", completion: row.completion + " Yes."))
            }
            datanet = try TestDatanet([brisket, others, copy])
            let peer = try SigningKey(seed: [UInt8](repeating: 3, count: 32)).publicKey.peerID
            service = InferenceService(
                shelf: open.shelf, library: datanet.library, book: try AdapterBook(store: nil), peer: peer,
                precision: "int8", scoringTokensMax: scoringTokensMax)
        }

        /// What is asked, what is answered, and what the server makes of it.
        func answered() async throws -> (AskOrder, AnswerStart, [UInt32], WeighedAnswer) {
            let order = try order(model, datanet: datanet.held.id.digest)
            let box = NewsBox()
            service.generate(order, ticket: Ticket(1), news: box.take)
            let answer = await box.answer()
            let start = try #require(answer.start)
            let weighed = await withCheckedContinuation { done in
                service.weigh(WeighingOrder(order: order, start: start, answerTokens: answer.tokens)) {
                    done.resume(returning: $0)
                }
            }
            return (order, start, answer.tokens, weighed)
        }

        func reweighed(_ receipt: Receipt, _ order: AskOrder, _ answer: [UInt32]) async -> Reweighing {
            await withCheckedContinuation { done in
                service.reweigh(ReweighingOrder(receipt: receipt, order: order, answerTokens: answer)) {
                    done.resume(returning: $0)
                }
            }
        }
    }

    @Test func anAnswerIsWeighedAndWeighedAgain() async throws {
        let bench = try Bench()
        let (order, start, answer, weighed) = try await bench.answered()
        #expect(start.sources.count > 1)
        #expect(
            SourceLedger.holds(weighed.sources, told: start.sources, snapshots: [bench.datanet.held.snapshot]),
            "\(weighed.sources.map { ($0.row, $0.share, $0.reason) })")
        #expect(weighed.sources.reduce(0) { $0 + $1.share.value } == 1_000_000)
        // The answer is the first row, word for word; who says it again has nothing.
        let first = try #require(start.sources.first)
        #expect(weighed.sources.first?.contributor == first.contributor)
        let copier = AccountID(try SigningKey(seed: [UInt8](repeating: 3, count: 32)).publicKey)
        #expect(!weighed.sources.contains { $0.contributor == copier && $0.share > .none })
        #expect(weighed.data.retrieval?.method == "retrieval+spans" && weighed.data.retrieval?.revision == 1)
        #expect(
            weighed.data.retrieval?.settings
                == ["k1": 1_200_000, "b": 750_000, "retrieval": 65_536, "spans": 65_536, "scored": 256])

        let receipt = try billed(order, start, answer, weighed)
        #expect(await bench.reweighed(receipt, order, answer) == .done(.same))
        // Each thing that an auditor looks at.
        func found(_ change: (inout Receipt) -> Void) async -> ShareOutcome? {
            var lie = receipt
            change(&lie)
            guard case .done(let outcome) = await bench.reweighed(lie, order, answer) else { return nil }
            return outcome
        }
        let rows = receipt.data.rows, contributors = receipt.data.contributors
        let truth = ShareOutcome.differs(.rows, rows: rows, contributors: contributors)
        #expect(
            await found { $0.data.contributors = [Contributor(account: copier, share: .whole)] } == truth,
            "somebody else is paid")
        #expect(await found { $0.data.rows = .zero } == truth, "other rows of the same contributors")
        #expect(await found { $0.data.retrieval?.method = "spans" } == .differs(.settings))
        #expect(await found { $0.data.retrieval?.method = "guess" } == .differs(.method))
        #expect(
            await found { $0.data.retrieval?.method = "influence+spans" } == .differs(.index),
            "no adapter answered")
        #expect(await found { $0.data.retrieval = nil } == .differs(.method))
        #expect(await found { $0.data.retrieval?.settings["spans"] = 0 } == .differs(.settings))
        #expect(await found { $0.data.indexes = [] } == .differs(.index))
        #expect(await found { $0.data.query = receipt.prompt } == .differs(.query))
        #expect(await found { $0.data.snapshots = [] } == .differs(.snapshot))
        #expect(await found { $0.prompt = receipt.answer } == .differs(.prompt))
        // What cannot be weighed here is refused, and nothing follows from it.
        #expect(await found { $0.data.snapshots = [bench.model] } == nil)
        #expect(await found { $0.model.numerics = 99 } == nil)
        // Nobody is paid by a server that says it did not weigh.
        let silent = await found {
            $0.data.retrieval = nil
            $0.data.rows = nil
            $0.data.contributors = []
        }
        #expect(silent == .unable("unweighed"))
    }

    /// Kinds that were not used are not named, and an auditor uses those that are.
    @Test func withoutScoringsSpansSpeakAlone() async throws {
        let bench = try Bench(scoringTokensMax: 0)
        let (order, start, answer, weighed) = try await bench.answered()
        #expect(weighed.data.retrieval?.method == "spans")
        #expect(weighed.data.retrieval?.settings["scored"] == nil)
        let receipt = try billed(order, start, answer, weighed)
        #expect(await bench.reweighed(receipt, order, answer) == .done(.same))
    }

    /// Shapley values are those of the definition: the same scorings, one after the other, in an engine of their own.
    @Test func thePassageThatIsQuotedHelpsMost() async throws {
        let bench = try Bench()
        let (order, start, answer, _) = try await bench.answered()
        let plan = try OrderPlan(order, shelf: bench.service.shelf)
        let question = try #require(plan.form.question)
        let found = try bench.service.library.find(question, in: bench.datanet.held)
        let weighing = plan.weighing(answer, found: found, stood: start.sources.map(\.row), kinds: [.retrieval])
        let both = await withCheckedContinuation { done in
            bench.service.weigh(weighing) { done.resume(returning: $0) }
        }
        let weighed = try both.get()
        #expect(weighed.kinds == [.retrieval])
        #expect(weighed.prompt?.map(UInt32.init(bitPattern:)) == start.promptTokens)
        #expect(weighed.rows.first?.found.ordinal == start.sources.first?.row)
    }

    /// A model that does not keep the time is asked for less, and in time for all again.
    @Test func thePaceFollowsTheModel() {
        let pace = ScoringPace(tokensMax: 16_384)
        let key = EngineKey(model: CID(.raw, hashing: [1]), precision: .int8)
        #expect(pace.tokensMax(key) == 16_384)
        pace.missed(key, 9_000)
        #expect(pace.tokensMax(key) == 4_500)
        pace.missed(key, 600)
        pace.missed(key, 0)
        #expect(pace.tokensMax(key) == 512)
        var asked = 0
        while pace.tokensMax(key) < 16_384, asked < 200 { asked += 1 }
        #expect(asked > 10 && asked < 200)
    }
}
