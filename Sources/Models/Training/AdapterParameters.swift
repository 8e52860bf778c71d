// What is trained: LoRA's factors, their gradients and the optimiser's two moments, each a flat array in the order of the
// layout, and copies of the factors the other way round, made anew after each step.

import Arithmetic
import GradientKernels
import Inference
import Primitives

package final class AdapterParameters {
    package let layout: AdapterLayout
    let weights: UnsafeMutablePointer<Float>
    let gradients: UnsafeMutablePointer<Float>
    let first: UnsafeMutablePointer<Float>
    let second: UnsafeMutablePointer<Float>
    let turned: UnsafeMutablePointer<Float>
    private let memory: FloatMemory

    package var byteCount: Int { memory.byteCount }

    init(_ layout: AdapterLayout, memory: FloatMemory = FloatMemory()) {
        self.layout = layout
        self.memory = memory
        weights = memory.floats(layout.count)
        gradients = memory.floats(layout.count)
        first = memory.floats(layout.count)
        second = memory.floats(layout.count)
        turned = memory.floats(layout.turnedCount)
    }

    /// As PEFT begins: A uniform within 1 / sqrt(columns), B zero. A's element `index` of a module is a function of the seed,
    /// the module's place and the index.
    func initialise(seed: UInt64) {
        for (place, module) in layout.modules.enumerated() {
            var random = SeededRandom(seed: seed &+ UInt64(place) &* 0x9e37_79b9_7f4a_7c15)
            let bound = (1 / Double(module.module.columns)).squareRoot()
            for row in 0..<module.rank {
                let line = weights + module.downOffset + row * module.downStride
                for column in 0..<module.module.columns { line[column] = Float((random.unit() * 2 - 1) * bound) }
            }
        }
        turn()
    }

    /// From the factors of a folder, which are the layout's modules.
    func read(_ factors: [ModuleFactors]) {
        precondition(factors.count == layout.modules.count)
        for (module, factor) in zip(layout.modules, factors) {
            let columns = module.module.columns
            for row in 0..<module.rank {
                let line = weights + module.downOffset + row * module.downStride
                for column in 0..<columns { line[column] = factor.down[row * columns + column] }
                for part in module.parts {
                    let line = weights + part.offset + row * part.stride
                    for out in 0..<part.rows { line[out] = factor.up[(part.firstRow + out) * module.rank + row] }
                }
            }
        }
        turn()
    }

    /// A, [rank][columns], and B, [rows][rank], of a module, of the weights or of what lies as they do.
    func factors(_ module: TrainedModule, of values: UnsafePointer<Float>) -> (down: [Float], up: [Float]) {
        let columns = module.module.columns, rank = module.rank
        var down = [Float](repeating: 0, count: rank * columns)
        var up = [Float](repeating: 0, count: module.module.rows * rank)
        for row in 0..<rank {
            let line = values + module.downOffset + row * module.downStride
            for column in 0..<columns { down[row * columns + column] = line[column] }
            for part in module.parts {
                let line = values + part.offset + row * part.stride
                for out in 0..<part.rows { up[(part.firstRow + out) * rank + row] = line[out] }
            }
        }
        return (down, up)
    }

    package func weights(of module: TrainedModule) -> (down: [Float], up: [Float]) { factors(module, of: weights) }
    package func gradients(of module: TrainedModule) -> (down: [Float], up: [Float]) { factors(module, of: gradients) }

    var areFinite: Bool { (0..<layout.count).allSatisfy { weights[$0].isFinite } }

    func clearGradients() { gradients.update(repeating: 0, count: layout.count) }

    /// Makes the turned copies from the weights.
    func turn() {
        for module in layout.modules {
            let group = layout.groups[module.layer][module.input.rawValue]
            gradient_transpose(
                weights + module.downOffset, module.rank, module.module.columns, module.downStride,
                turned + group.turned + module.column, group.width)
            for part in module.parts {
                gradient_transpose(
                    weights + part.offset, module.rank, part.rows, part.stride, turned + part.turned, module.width)
            }
        }
    }
}
