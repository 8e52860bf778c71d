// The reference results of transformers and PEFT (versions in Tests/Fixtures/models/README.md).

import Foundation
import Kernels
import ModelFixtures
import Primitives

@testable import Arithmetic
@testable import Inference
@testable import ModelFiles

func int32s(_ value: JSONValue?) -> [Int32] { (value?.items ?? []).compactMap { $0.integer.map(Int32.init) } }

/// A model with its references.
struct Family {
    let name: String
    let model: LoadedModel
    let adapters: [String: LoadedAdapter]
    let prompts: [[Int32]]
    private let reference: JSONValue
    private let logits: Safetensors
    private let holder: MemoryFolder

    init(_ name: String, precision: Precision = .f32) throws {
        try self.init(at: fixtures.appending(path: name), precision: precision)
    }

    init(at url: URL, precision: Precision = .f32) throws {
        name = url.lastPathComponent
        model = try LoadedModel(folder: try folder(url), precision: precision)
        var adapters: [String: LoadedAdapter] = [:]
        for tag in ["a", "b"] {
            adapters[tag] = try LoadedAdapter(
                folder: try folder(url.appending(path: "adapter_\(tag)")), config: model.config)
        }
        self.adapters = adapters
        reference = try json(url.appending(path: "reference.json"))
        prompts = (reference["prompts"]?.items ?? []).map { int32s($0) }
        holder = try folder(url)
        logits = try Safetensors(folder: holder, stem: "reference")
    }

    func greedy(_ tag: String, _ prompt: Int) -> [Int32] { int32s(reference["greedy"]?[tag]?.items?[prompt]) }

    func marginIsSafe(_ tag: String, _ prompt: Int) -> Bool {
        (reference["min_margin"]?[tag]?.items?[prompt].double ?? 0) > 1e-3
    }

    /// The reference logits of a prompt's last rows.
    func expected(_ tag: String, _ prompt: Int) throws -> [[Float]] {
        guard let view = logits.tensors["logits.\(tag).\(prompt)"] else { throw ModelFault.missing(file: "reference") }
        let reader = try RowReader(view, rows: view.shape[0], columns: view.shape[1], file: "reference")
        return (0..<view.shape[0]).map { row in
            var values = [Float](repeating: 0, count: view.shape[1])
            values.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { reader.read(row: row, into: base) } }
            return values
        }
    }
}

/// All logits of one sequence, computed `chunk` tokens at a time.
func logits(
    of tokens: [Int32], model: LoadedModel, adapter: LoadedAdapter? = nil, chunk: Int = .max,
    instructionSet: InstructionSet = .best, width: Int = 1
) -> [[Float]] {
    let rows = min(chunk, tokens.count)
    let cache = PagePool(config: model.config, bytesMax: 64 << 20)
    guard let pages = cache.take(PagePool.pages(positions: tokens.count)) else { return [] }
    defer { cache.give(pages) }
    let transformer = Transformer(
        model: model, cache: cache, pool: SerialPool(width: width), instructionSet: instructionSet, rowsMax: rows,
        logitRowsMax: rows)
    var out: [[Float]] = []
    var start = 0
    while start < tokens.count {
        let count = min(rows, tokens.count - start)
        transformer.forward(
            tokens: Array(tokens[start..<start + count]),
            segments: [BatchSegment(pages: pages, start: start, count: count, row: 0, adapter: adapter)])
        transformer.computeLogits(of: Array(0..<count)[...])
        for row in 0..<count {
            out.append(
                (0..<model.config.vocabulary).map { transformer.logits[row * transformer.logitStride + $0] })
        }
        start += count
    }
    return out
}

func bits(_ rows: [[Float]]) -> [[UInt32]] { rows.map { $0.map(\.bitPattern) } }

/// Runs an engine until it is idle: tokens, text and reason of each sequence.
struct Answer: Equatable {
    var tokens: [Int32] = []
    var text = ""
    var finish: FinishReason?
    var outputs: [SequenceOutput] = []
}

func drain(_ engine: Engine) -> [SequenceID: Answer] {
    var answers: [SequenceID: Answer] = [:]
    var steps = 0
    while !engine.isIdle, steps < 100_000 {
        for output in engine.step() {
            answers[output.id, default: Answer()].text += output.text
            if let token = output.token { answers[output.id, default: Answer()].tokens.append(token.id) }
            answers[output.id, default: Answer()].finish = output.finish
            answers[output.id, default: Answer()].outputs.append(output)
        }
        steps += 1
    }
    return answers
}

/// Values between -1 and 1 from a counter.
struct Noise {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> Float {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Float(Int32(truncatingIfNeeded: state >> 32)) / 2_147_483_648
    }

    mutating func array(_ count: Int, scale: Float = 1) -> [Float] { (0..<count).map { _ in next() * scale } }
}
