/* Plain C loops of an epoch, as near to the machine's limit as a compiler comes without being told more: seconds per
   run and epoch of one core. Built by `limits.c_loops` with N units (padded to P), S steps, B trials and rank K as
   constants: K = 0 is full rank, K = -1 a rank-one network that lives on kappa. Biases, inputs and the readout's own
   gradient are left out, as they are of `limits.operations`. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define FOR(i, n) for (int i = 0; i < (n); i++)
#define R (K > 0 ? K : 1)
static const float leak = .5f, rate = 1e-6f;
static float h[S][B][P], d[S][B][P], b[P], m[P], n[P], out[P];

static inline float hyperbolic(float x) { /* the rational function that XLA takes */
    x = x > 7.9f ? 7.9f : x < -7.9f ? -7.9f : x;
    float y = x * x, p = -2.76076847742355e-16f, q = 1.19825839466702e-06f;
    p = p * y + 2.00018790482477e-13f, p = p * y - 8.60467152213735e-11f, p = p * y + 5.12229709037114e-08f;
    p = p * y + 1.48572235717979e-05f, p = p * y + 6.37261928875436e-04f, p = p * y + 4.89352455891786e-03f;
    q = q * y + 1.18534705686654e-04f, q = q * y + 2.26843463243900e-03f, q = q * y + 4.89352518554385e-03f;
    return x * p / q;
}

static float slope(float read, int t, float *loss) {
    float o = 1 / (1 + expf(-read)), e = o - (t >= S / 2);
    *loss += e * e;
    return e * o * (1 - o);
}

/* y += x w of x (rows), w (rows, P): four rows at a time */
static inline void times(const float *x, int rows, float w[][P], float *y) {
    int i = 0;
    for (; i + 3 < rows; i += 4)
        FOR(j, P) y[j] += x[i] * w[i][j] + x[i + 1] * w[i + 1][j] + x[i + 2] * w[i + 2][j] + x[i + 3] * w[i + 3][j];
    for (; i < rows; i++) FOR(j, P) y[j] += x[i] * w[i][j];
}

static inline void times_transposed(const float *x, int rows, float w[][P], float *y) {
    FOR(i, rows) {
        float sum = 0;
        FOR(j, P) sum += w[i][j] * x[j];
        y[i] = sum;
    }
}

/* w -= rate x^T y of x (S, B, width), y (S, B, P): a row of w in registers for all steps */
static inline void descend(const float *x, int width, int rows, float y[S][B][P], float w[][P]) {
    FOR(i, rows) for (int j = 0; j < P; j += 16) {
        float sum[16] = {0};
        FOR(t, S * B) FOR(k, 16) sum[k] += x[t * width + i] * (&y[0][0][0])[t * P + j + k];
        FOR(k, 16) w[i][j + k] -= rate * sum[k];
    }
}

#if K == -1
static float epoch(void) {
    float kappa[S + 1] = {0}, gain[S], weight[S], loss = 0, adjoint = 0, by[3][P] = {{0}};
    FOR(i, P) kappa[0] += .1f * n[i];
    FOR(t, S) {
        float sum = 0, steep = 0;
        FOR(i, P) {
            float r = h[t][0][i] = hyperbolic(m[i] * kappa[t] + b[i]);
            sum += n[i] * r, steep += n[i] * m[i] * (1 - r * r);
        }
        gain[t] = steep, kappa[t + 1] = (1 - leak) * kappa[t] + leak * sum;
    }
    for (int t = S - 1; t >= 0; t--) {
        adjoint += slope(10 * (kappa[t + 1] - 1), t, &loss), weight[t] = leak * adjoint;
        adjoint *= 1 - leak + leak * gain[t];
    }
    FOR(t, S) FOR(i, P) {
        float r = h[t][0][i], w = weight[t], steep = 1 - r * r;
        by[0][i] += w * r, by[1][i] += w * steep, by[2][i] += w * kappa[t] * steep;
    }
    FOR(i, P) m[i] -= rate * n[i] * by[2][i], b[i] -= rate * n[i] * by[1][i], n[i] -= rate * by[0][i];
    return loss;
}
#elif K == 0
static float w[N][P], x[S + 1][B][P];
static float epoch(void) {
    float loss = 0, adjoint[B][P] = {{0}};
    FOR(t, S) FOR(c, B) {
        float y[P];
        FOR(j, P) y[j] = b[j];
        times(x[t][c], N, w, y);
        FOR(j, P) h[t][c][j] = hyperbolic(y[j]), x[t + 1][c][j] = (1 - leak) * x[t][c][j] + leak * h[t][c][j];
    }
    for (int t = S - 1; t >= 0; t--) FOR(c, B) {
        float read = 0, back[P] = {0};
        FOR(j, P) read += out[j] * x[t + 1][c][j];
        float g = slope(read, t, &loss);
        FOR(j, P) adjoint[c][j] += g * out[j], d[t][c][j] = leak * adjoint[c][j] * (1 - h[t][c][j] * h[t][c][j]);
        times_transposed(d[t][c], N, w, back);
        FOR(j, P) adjoint[c][j] = (1 - leak) * adjoint[c][j] + back[j];
    }
    descend(&x[0][0][0], P, N, d, w);
    return loss;
}
#else
static float into[R + 1][P], back[R][P], y[S + 1][B][R + 1], a[S][B][R + 1];
static float epoch(void) {
    float loss = 0, adjoint[B][R + 1] = {{0}};
    FOR(t, S) FOR(c, B) {
        float u[P], sums[R + 1];
        FOR(j, P) u[j] = b[j];
        times(y[t][c], R, back, u);
        FOR(j, P) h[t][c][j] = hyperbolic(u[j]);
        times_transposed(h[t][c], R + 1, into, sums);
        FOR(i, R + 1) y[t + 1][c][i] = (1 - leak) * y[t][c][i] + leak * sums[i];
    }
    for (int t = S - 1; t >= 0; t--) FOR(c, B) {
        float u[P] = {0}, sums[R];
        adjoint[c][R] += slope(y[t + 1][c][R], t, &loss);
        FOR(i, R + 1) a[t][c][i] = adjoint[c][i];
        times(adjoint[c], R + 1, into, u);
        FOR(j, P) d[t][c][j] = leak * u[j] * (1 - h[t][c][j] * h[t][c][j]);
        times_transposed(d[t][c], R, back, sums);
        FOR(i, R + 1) adjoint[c][i] *= 1 - leak;
        FOR(i, R) adjoint[c][i] += sums[i];
    }
    descend(&a[0][0][0], R + 1, R + 1, h, into);
    descend(&y[0][0][0], R + 1, R, d, back);
    return loss;
}
#endif

static double now(void) { /* of this process alone, whoever else is at work */
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static float drawn(void) { return (rand() % 2000 - 1000) / 9000.f; }

int main(void) {
    float kept = 0;
    double best = 1e9;
    FOR(i, N) m[i] = drawn(), n[i] = drawn(), out[i] = drawn();
#if K == 0
    FOR(i, N) FOR(j, N) w[i][j] = drawn();
    FOR(c, B) FOR(j, N) x[0][c][j] = .1f;
#elif K > 0
    FOR(i, R + 1) FOR(j, N) into[i][j] = drawn();
    FOR(i, R) FOR(j, N) back[i][j] = drawn();
#endif
    for (int epochs = 1; epochs < 1 << 24; epochs *= 2) { /* the longest turns, of about 30 ms, count */
        FOR(repeat, 5) {
            double began = now();
            FOR(k, epochs) kept += epoch();
            double took = now() - began;
            if (took > .03 && took / epochs < best) best = took / epochs;
        }
        if (best < 1) break;
    }
    printf("%g %g\n", best, kept);
}
