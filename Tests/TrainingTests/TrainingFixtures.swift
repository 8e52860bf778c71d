// The reference results of PyTorch, transformers and PEFT (versions in
// Tests/Fixtures/models/README.md).

import Foundation
import ModelFixtures
import Primitives

@testable import Arithmetic
@testable import Inference
@testable import ModelFiles
@testable import Training

/// Folders of dense models with references of a training.
let denseFamilies = modelFolders { !$0.lastPathComponent.hasPrefix("deepseek_v") && reference($0) != nil }

/// A folder's reference of a training; some committed ones have none.
private func reference(_ url: URL) -> JSONValue? {
    guard let data = try? Data(contentsOf: url.appending(path: "reference.json")) else { return nil }
    return (try? JSONValue.parse([UInt8](data), limits: .tokenizer))?["train"]
}

/// A model with an adapter to train and what PyTorch made of it.
struct TrainedFamily {
    let model: LoadedModel
    let adapter: AdapterFactors
    let batches: [[TrainingRow]]
    let loss: Double
    let losses: [Double]
    let settings: TrainingSettings
    private let tensors: [String: TensorView]
    private let holder: MemoryFolder

    init(_ name: String, precision: Precision = .f32) throws {
        try self.init(at: fixtures.appending(path: name), precision: precision)
    }

    init(at url: URL, precision: Precision = .f32) throws {
        holder = try folder(url)
        let model = try LoadedModel(folder: holder, precision: precision)
        self.model = model
        adapter = try AdapterFactors(folder: try folder(url.appending(path: "adapter_a")), config: model.config)
        tensors = try Safetensors(folder: holder, stem: "reference").tensors
        // Rows and settings of another model where it has none of its own: it then has no results either.
        let train = reference(url) ?? reference(fixtures.appending(path: "llama3"))
        batches = try (train?["batches"]?.items ?? []).map { try Self.rows($0, model) }
        loss = train?["grad_loss"]?.double ?? .nan
        losses = (train?["losses"]?.items ?? []).compactMap(\.double)
        let hyper = train?["hyper"]
        var settings = TrainingSettings()
        settings.steps = hyper?["steps"]?.integer ?? 0
        settings.batch = batches.first?.count ?? 0
        settings.learningRate = hyper?["lr"]?.double ?? .nan
        settings.weightDecay = hyper?["weight_decay"]?.double ?? .nan
        settings.firstBeta = hyper?["betas"]?.items?.first?.double ?? .nan
        settings.secondBeta = hyper?["betas"]?.items?.last?.double ?? .nan
        settings.epsilon = hyper?["eps"]?.double ?? .nan
        settings.shuffles = false
        self.settings = settings
    }

    /// A batch's rows, through the reader of row files.
    private static func rows(_ batch: JSONValue, _ model: LoadedModel) throws -> [TrainingRow] {
        var lines: [UInt8] = []
        for index in (batch["input_ids"]?.items ?? []).indices {
            let row = JSONValue.members(
                ["input_ids", "attention_mask", "labels"].map {
                    JSONMember($0, batch[$0]?.items?[index] ?? .null)
                })
            lines += row.serialized() + [0x0a]
        }
        var writer = RowWriter(model: model)
        return try writer.tokenRows(lines, file: "batch")
    }

    func trainer(
        _ settings: TrainingSettings? = nil, pool: any WorkerPool = SerialPool(),
        instructionSet: InstructionSet = .best, tokensMax: Int = 1024, keptBytesMax: Int = 1 << 30
    ) throws -> Trainer {
        try Trainer(
            model: model, rows: batches.flatMap { $0 }, settings: settings ?? self.settings, initial: adapter,
            pool: pool, instructionSet: instructionSet, tokensMax: tokensMax, keptBytesMax: keptBytesMax)
    }

    /// PyTorch's, of the first batch.
    func referenceGradient(_ name: String) throws -> [Float] {
        guard let view = tensors["grad." + name] else { throw ModelFault.missing(file: name) }
        let reader = try RowReader(view, rows: view.shape[0], columns: view.shape[1], file: "reference")
        return (0..<reader.rows).flatMap { reader.row($0) }
    }

    /// The worst relative distance of a module's gradient to the reference.
    func gradientDistance(_ trainer: Trainer) throws -> Double {
        var worst = 0.0
        for module in trainer.parameters.layout.modules {
            let own = trainer.parameters.gradients(of: module)
            for (name, values) in [(module.module.downName, own.down), (module.module.upName, own.up)] {
                worst = max(worst, relativeDistance(values, try referenceGradient(name)))
            }
        }
        return worst
    }
}

func relativeDistance(_ a: [Float], _ b: [Float]) -> Double {
    guard a.count == b.count else { return .infinity }
    let square = zip(a, b).reduce(0.0) { $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1)) }
    let norm = b.reduce(0.0) { $0 + Double($1) * Double($1) }
    return (square / max(norm, 1e-60)).squareRoot()
}

/// Everything that is trained, as bits.
func bits(_ trainer: Trainer) -> [UInt32] {
    (0..<trainer.parameters.layout.count).map { trainer.parameters.weights[$0].bitPattern }
}

func gradientBits(_ trainer: Trainer) -> [UInt32] {
    (0..<trainer.parameters.layout.count).map { trainer.parameters.gradients[$0].bitPattern }
}
