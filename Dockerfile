# The project with its pinned environment. What runs make (data, models, DVC's cache) is kept in volumes:
#   docker build -t preference-tuning .
#   docker run --rm -it -v pt-dvc:/project/.dvc/cache -v pt-data:/project/data -v pt-models:/project/models preference-tuning
# With a GPU: docker run --gpus all ...; torch brings CUDA itself. A smaller image, for CPUs only, takes torch
# from an index of CPU builds:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=... -t preference-tuning .
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /project
ARG PIP_EXTRA_INDEX_URL
# Before the code, whose changes leave this layer as it is.
COPY Makefile requirements.txt constraints.txt ./
RUN make setup
COPY . .
CMD ["make", "repro"]
