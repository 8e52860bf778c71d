// A model cut by layers gives the bits of a whole one: every family at every cut and precision, prompts in chunks, many
// sequences, kept prefixes, preemption; and it goes on giving them when a stage dies. Planted faults show that each can fail.

import Arithmetic
import Decoding
import Foundation
import ModelFixtures
import Primitives
import Records
import Testing

@testable import Inference
@testable import ModelFiles

/// Stages that run in place of other peers.
private final class StagesHere: StageRelay {
    enum Harm {
        /// One bit of a row that comes back.
        case bit
        /// A replacement that says it was refilled and was not.
        case noRefill
        /// Copies of pages are not repeated.
        case noCopies
        /// A row too few.
        case short
    }

    let stages: [Range<Int>]
    let pagesMax: Int
    /// Kills a stage: before these calls, by number.
    var deaths: Set<Int> = []
    /// Nobody takes a place any more.
    var isAlone = false
    var harm: Harm?
    private(set) var replaced = 0
    private var refills = false
    private var calls = 0
    private let make: (Range<Int>) throws -> LayerStage
    private var running: [(stage: LayerStage, pages: StagePages)] = []

    init(_ stages: [Range<Int>], pagesMax: Int, make: @escaping (Range<Int>) throws -> LayerStage) throws {
        self.stages = stages
        self.pagesMax = pagesMax
        self.make = make
        for range in stages { running.append(try open(range)) }
    }

    private func open(_ range: Range<Int>) throws -> (LayerStage, StagePages) {
        let stage = try make(range)
        return (stage, try stage.pages(pagesMax, layers: range))
    }

    func compute(_ work: LayerWork, stage: Int) throws(StageFault) -> [UInt8] {
        calls += 1
        if deaths.remove(calls) != nil { throw StageFault("killed before call \(calls)") }
        let (layers, pages) = running[stage]
        if refills, harm == .noRefill {
            refills = false
            return work.rows
        }
        var rows: [UInt8] = []
        for var message in work.messages(rowBytes: layers.rowBytes) {
            if harm == .noCopies { message.copies = [] }
            do throws(LayerFault) {
                rows += try layers.compute(message, in: pages)
            } catch {
                throw StageFault(error.description)
            }
        }
        if harm == .bit, calls == 3 { rows[5] ^= 1 }
        if harm == .short, calls == 3 { rows.removeLast(4) }
        return rows
    }

    func replace(stage: Int, because fault: StageFault) throws(StageFault) {
        guard !isAlone else { throw StageFault("nobody else computes layers \(stages[stage])") }
        do { running[stage] = try open(stages[stage]) } catch { throw StageFault("\(error)") }
        replaced += 1
        refills = true
    }
}

/// An engine whose model is cut.
private struct CutEngine {
    let engine: Engine
    let relay: StagesHere

    /// - Parameters:
    ///   - here: layers that the engine has itself.
    ///   - cuts: where one stage ends and another begins.
    init(
        _ files: MemoryFolder, _ precision: Precision, here: Range<Int>, cuts: [Int] = [], width: Int = 1,
        limits change: (inout EngineLimits) -> Void = { _ in }
    ) throws {
        var limits = EngineLimits()
        change(&limits)
        let model = try LoadedModel(
            folder: files, precision: precision, part: ModelPart(layers: here, hasEnds: true))
        let layers = model.config.layers
        var stages: [Range<Int>] = []
        let edges = Set([0, layers, here.lowerBound, here.upperBound] + cuts).sorted()
        for (from, to) in zip(edges, edges.dropFirst()) where !(from >= here.lowerBound && to <= here.upperBound) {
            stages.append(from..<to)
        }
        relay = try StagesHere(
            stages,
            pagesMax: Engine.pagesWanted(model.config, limits: limits, layers: here.count, stages: stages.count)
        ) { range in
            LayerStage(
                model: try LoadedModel(
                    folder: files, precision: precision, part: ModelPart(layers: range, hasEnds: false)),
                rowsMax: 19)
        }
        engine = Engine(model: model, limits: limits, pool: SerialPool(width: width), relay: relay)
    }
}

@Suite struct LayerStageTests {
    private static func requests(_ family: Family, _ count: Int, tokensMax: Int = 12) -> [GenerationRequest] {
        let longest = family.prompts.max { $0.count < $1.count } ?? []
        return (0..<count).map { index in
            GenerationRequest(
                prompt: Array((longest + longest).prefix(9 + index * 11 % (2 * longest.count))), tokensMax: tokensMax,
                sampling: index.isMultiple(of: 2) ? .greedy : Sampling(temperature: 0.8, topK: 40, seed: UInt64(index)),
                ignoresEnd: true, logProbabilities: 2, scoresPrompt: index == 1)
        }
    }

    /// At every layer: the first part here or the last, or none.
    @Test(arguments: familyFolders, Precision.allCases) func everyCutGivesTheSameBits(
        url: URL, precision: Precision
    ) throws {
        let family = try Family(at: url, precision: precision), files = try folder(url)
        let requests = Self.requests(family, 3)
        let whole = try hear(Engine(model: family.model), requests)
        let layers = family.model.config.layers
        var ways: [(here: Range<Int>, cuts: [Int])] = [(0..<0, Array(0...layers))]
        for cut in 1..<max(2, layers) { ways += [(0..<cut, []), (cut..<layers, []), (0..<0, [cut])] }
        for way in ways {
            let cut = try CutEngine(files, precision, here: way.here, cuts: way.cuts, width: 2) {
                $0.stepTokensMax = 37
                $0.promptTokensBesideAnswersMax = 7
            }
            #expect(try hear(cut.engine, requests) == whole, "\(url.lastPathComponent), \(way)")
            #expect(cut.engine.statistics.pagesHeld == 0 && cut.engine.lost == nil)
        }
    }

    /// Many sequences, prefixes that are found and copied, pages that run short, and stages that die now and then.
    @Test(arguments: [1, 2, 3] as [UInt64]) func deathsChangeNothing(seed: UInt64) throws {
        let url = starter.appending(path: "model"), files = try folder(url)
        let model = try LoadedModel(folder: files, precision: .int8)
        var random = SeededRandom(seed: seed)
        let text = (0..<90).map { _ in Int32(5 + random.below(3000)) }
        var requests: [GenerationRequest] = []
        for index in 0..<14 {
            var prompt = Array(text.prefix(20 + Int(random.below(70))))
            if index % 3 == 0 { prompt.append(Int32(70 + index)) }
            let sampling = Sampling(temperature: index.isMultiple(of: 2) ? 0 : 0.9, seed: UInt64(index))
            requests.append(
                GenerationRequest(
                    prompt: prompt, tokensMax: 10 + Int(random.below(25)), sampling: sampling, ignoresEnd: true))
        }
        let alone = try requests.map { request in
            try hear(Engine(model: model), [request])[0]
        }
        let cut = try CutEngine(files, .int8, here: 2..<4, cuts: [1]) {
            $0.sequencesMax = 5
            $0.stepTokensMax = 48
            // Rows of three stages and two layers a page.
            $0.cacheBytesMax = 40 * 4 * (2 * 2 * 4 * 32 * 16 + 3 * 256 * 16)
        }
        for _ in 0..<12 { cut.relay.deaths.insert(1 + Int(random.below(300))) }
        let heard = try hear(cut.engine, requests) { #expect(cut.engine.faults == []) }
        #expect(heard == alone, "seed \(seed)")
        let statistics = cut.engine.statistics
        #expect(cut.relay.replaced > 3 && statistics.stagesReplaced == UInt64(cut.relay.replaced))
        #expect(statistics.refilledTokens > 0 && statistics.cachedTokens > 0 && statistics.pagesHeld == 0)
    }

    @Test func plantedFaultsAreFound() throws {
        let family = try Family("llama3"), files = try folder(fixtures.appending(path: "llama3"))
        let requests = Self.requests(family, 4, tokensMax: 20)
        let whole = try hear(Engine(model: family.model), requests)
        func heard(_ harm: StagesHere.Harm, deaths: Set<Int> = []) throws -> (heard: [Heard], CutEngine) {
            let cut = try CutEngine(files, .f32, here: 0..<1) { $0.stepTokensMax = 40 }
            cut.relay.harm = harm
            cut.relay.deaths = deaths
            return (try hear(cut.engine, requests), cut)
        }
        #expect(try heard(.bit).heard != whole)
        #expect(try heard(.noRefill, deaths: [6]).heard != whole)
        // What comes back in another size is another peer's turn.
        let (short, cut) = try heard(.short)
        #expect(short == whole && cut.relay.replaced == 1)
        // A prompt that begins within another's page reads a copy of it.
        let cold = try CutEngine(files, .f32, here: 0..<1), broken = try CutEngine(files, .f32, here: 0..<1)
        broken.relay.harm = .noCopies
        var second = requests[0]
        second.prompt = Array(requests[3].prompt.prefix(25)) + [7, 8, 9]
        _ = try hear(cold.engine, [requests[3]])
        _ = try hear(broken.engine, [requests[3]])
        let right = try hear(Engine(model: family.model), [second])
        #expect(try hear(cold.engine, [second]) == right)
        #expect(try hear(broken.engine, [second]) != right)
    }

    @Test func nobodyLeftEndsAllAndFreesPages() throws {
        let cut = try CutEngine(try folder(fixtures.appending(path: "llama3")), .f32, here: 0..<0)
        cut.relay.deaths = [5]
        cut.relay.isAlone = true
        let family = try Family("llama3")
        _ = try hear(cut.engine, Self.requests(family, 3))
        #expect(cut.engine.lost?.description.contains("nobody else") == true)
        #expect(cut.engine.isIdle && cut.engine.statistics.pagesHeld == 0 && cut.engine.statistics.pagesIdle == 0)
        #expect(cut.engine.faults == [])
        #expect(throws: EngineFault.self) {
            try cut.engine.submit(GenerationRequest(prompt: [1, 2], adapter: "a", tokensMax: 3))
        }
    }

    /// What is said of memory before loading is what loading takes, and a part takes its part.
    @Test(arguments: familyFolders, Precision.allCases) func thePlanIsTheMemory(url: URL, precision: Precision) throws {
        let files = try folder(url)
        let plan = try WeightPlan(folder: files, precision: precision)
        let whole = try LoadedModel(folder: files, precision: precision)
        #expect(plan.whole >= whole.weightBytes && plan.whole <= whole.weightBytes * 11 / 10)
        let half = ModelPart(layers: 1..<plan.layers.count, hasEnds: false)
        let part = try LoadedModel(folder: files, precision: precision, part: half)
        #expect(plan.bytes(of: half) >= part.weightBytes && part.weightBytes < whole.weightBytes)
        #expect(part.range == half.layers && part.tokenizer == nil)
        #expect(plan.part(from: 0, bytesMax: plan.whole, hasEnds: true)?.layers == 0..<plan.layers.count)
        #expect(plan.part(from: 0, bytesMax: plan.whole - 1, hasEnds: true)?.layers == 0..<plan.layers.count - 1)
        #expect(plan.part(from: 0, bytesMax: plan.ends - 1, hasEnds: true) == nil)
        #expect(throws: ModelFault.self) {
            try LoadedModel(
                folder: files, precision: precision,
                part: ModelPart(layers: 0..<plan.layers.count + 1, hasEnds: false))
        }
    }

    /// A stage writes nothing that it was not granted, whatever it is asked.
    @Test func whatIsAskedIsChecked() throws {
        let files = try folder(starter.appending(path: "model"))
        let stage = LayerStage(
            model: try LoadedModel(folder: files, precision: .f32, part: ModelPart(layers: 2..<4, hasEnds: false)))
        #expect(throws: LayerFault.layers(1..<3, held: 2..<4)) { try stage.pages(4, layers: 1..<3) }
        let pages = try stage.pages(4, layers: 2..<4)
        let row = [UInt8](repeating: 0, count: stage.rowBytes)
        func refusal(_ work: LayerWork) -> LayerFault? {
            do throws(LayerFault) { _ = try stage.compute(work, in: pages) } catch { return error }
            return nil
        }
        func one(_ pages: [UInt32], _ start: Int, _ count: Int, rows: Int) -> LayerWork {
            LayerWork(
                segments: [LayerWork.Segment(pages: pages, start: start, count: count)],
                rows: Array(repeatElement(row, count: rows).joined()))
        }
        #expect(refusal(one([0, 3], 16, 1, rows: 1)) == nil)
        #expect(refusal(one([4], 0, 1, rows: 1)) == .page(4, pages: 4))
        #expect(refusal(one([0, 0], 15, 2, rows: 2)) == .pageTwice(0))
        #expect(refusal(one([0], 0, 2, rows: 1)) == .rows(bytes: 1024, expected: 2048))
        #expect(refusal(one(Array(repeating: 0, count: 65), 1024, 1, rows: 1)) == .position(1024, contextTokens: 1024))
        var copying = one([0], 0, 1, rows: 1)
        copying.copies = [LayerWork.Copy(from: 0, to: 9)]
        #expect(refusal(copying) == .page(9, pages: 4))
        // Values that are not finite do no harm to others.
        var wild = LayerWork(
            segments: [
                LayerWork.Segment(pages: [1], start: 0, count: 1), LayerWork.Segment(pages: [2], start: 0, count: 1),
            ], rows: row + row)
        let calm = try stage.compute(wild, in: pages)
        for at in 0..<stage.rowBytes { wild.rows[at] = 0xff }
        #expect(try stage.compute(wild, in: pages).suffix(stage.rowBytes) == calm.suffix(stage.rowBytes))
    }
}
